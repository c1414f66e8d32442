"""Reads the CloudFormation templates."""

from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parent.parent


class _Loader(yaml.SafeLoader):
    """Converts the short forms of functions, such as `!Ref`, to the long forms."""


def _function(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _function)
# Otherwise a version such as 2012-10-17 would become a date.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(name):
    """Returns the template `name` without short forms, so that it is JSON."""
    return yaml.load((FOLDER / f"{name}.yaml").read_text(), Loader=_Loader)


def containers():
    """Returns the containers of service.yaml that run the program, by name."""
    tasks = [it for it in load("service")["Resources"].values() if it["Type"] == "AWS::ECS::TaskDefinition"]
    definitions = [it for task in tasks for it in task["Properties"]["ContainerDefinitions"]]
    return {it["Name"]: it for it in definitions if it["Image"] == {"Ref": "Image"}}


def replace_references(value, values):
    """Replaces `Ref` of a parameter in `values` with its value."""
    if isinstance(value, dict):
        if len(value) == 1 and value.get("Ref") in values:
            return values[value["Ref"]]
        return {key: replace_references(it, values) for key, it in value.items()}
    if isinstance(value, list):
        return [replace_references(it, values) for it in value]
    return value
