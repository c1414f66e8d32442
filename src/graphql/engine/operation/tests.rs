//! The merged operation is compared as text, with a small schema that has an interface and a union.

use apollo_compiler::request::coerce_variable_values;
use apollo_compiler::validation::Valid;
use async_graphql::parser::parse_query;
use async_graphql::{EmptyMutation, EmptySubscription, Object, SimpleObject};

use super::*;

const SCHEMA: &str = "
    interface Event { cursor: String! }
    type Added implements Event { cursor: String! text: String! group: Group! }
    type Ready implements Event { cursor: String! }
    type Group { name: String! size(unit: String): Int }
    union Activity = Added | Group
    type Query { event: Event! activity: Activity! group: Group! events: [Event!]! }
";

fn merged(document: &str, variables: serde_json::Value) -> String {
    let schema = Schema::parse_and_validate(SCHEMA, "schema").expect("a schema");
    let document =
        Valid::into_inner(ExecutableDocument::parse_and_validate(&schema, document, "document").expect("valid"));
    let operation = document.operations.iter().next().expect("an operation");
    let given = serde_json::from_value(variables).expect("variables");
    let variables = coerce_variable_values(&schema, operation, &given).expect("variables");
    let EngineOperation(document) = engine_operation(&schema, &document, operation, &variables);
    let (_, operation) = document.operations.iter().next().expect("an operation");
    print(&operation.node.selection_set.node)
}

fn print(set: &engine::SelectionSet) -> String {
    let selections = set.items.iter().map(|selection| match &selection.node {
        engine::Selection::Field(field) => {
            let field = &field.node;
            let alias = field.alias.as_ref().map(|alias| format!("{}: ", alias.node)).unwrap_or_default();
            let arguments: Vec<String> =
                field.arguments.iter().map(|(name, value)| format!("({}: {})", name.node, value.node)).collect();
            let set = &field.selection_set.node;
            let inner = if set.items.is_empty() { String::new() } else { format!(" {}", print(set)) };
            format!("{alias}{}{}{inner}", field.name.node, arguments.concat())
        }
        engine::Selection::InlineFragment(fragment) => {
            let condition = fragment.node.type_condition.as_ref().expect("a type condition");
            format!("... on {} {}", condition.node.on.node, print(&fragment.node.selection_set.node))
        }
        engine::Selection::FragmentSpread(_) => unreachable!("fragments are expanded"),
    });
    format!("{{ {} }}", selections.collect::<Vec<_>>().join(" "))
}

#[test]
fn fields_with_the_same_key_are_merged() {
    let document = "
        query { group { name } ...F ... on Query { group { size(unit: \"kB\") } } other: group { name } }
        fragment F on Query { group { name n: name } }
    ";
    let expected = "{ group { name n: name size(unit: \"kB\") } other: group { name } }";
    assert_eq!(merged(document, serde_json::json!({})), expected);
}

#[test]
fn variables_decide_conditions() {
    let document = "query ($yes: Boolean!, $no: Boolean = false) {
        group @include(if: $no) { name }
        group @skip(if: $no) { size }
        ... @include(if: $yes) { group { name } }
        event { cursor @skip(if: true) }
    }";
    assert_eq!(merged(document, serde_json::json!({ "yes": true })), "{ group { size name } event }");
    assert_eq!(merged(document, serde_json::json!({ "yes": false, "no": true })), "{ group { name } event }");
}

#[test]
fn selections_on_an_interface_are_merged_for_each_possible_type() {
    let document = "{ event { cursor ... on Added { text group { name } } ...F __typename } }
        fragment F on Event { ... on Added { group { size } } ... on Ready { c: cursor } }";
    let added = "... on Added { cursor text group { name size } __typename }";
    let ready = "... on Ready { cursor c: cursor __typename }";
    assert_eq!(merged(document, serde_json::json!({})), format!("{{ event {{ {added} {ready} }} }}"));
}

#[test]
fn selections_on_a_union_apply_to_the_types_that_they_name() {
    let document = "{ activity { ... on Group { name } ... on Event { cursor } } }";
    let expected = "{ activity { ... on Added { cursor } ... on Group { name } } }";
    assert_eq!(merged(document, serde_json::json!({})), expected);
}

#[test]
fn errors_have_the_locations_of_the_clients_document() {
    let schema = Schema::parse_and_validate(SCHEMA, "schema").expect("a schema");
    let document = ExecutableDocument::parse_and_validate(&schema, "{\n  group {\n    n: name } }", "document");
    let document = document.expect("valid");
    let operation = document.operations.iter().next().expect("an operation");
    let EngineOperation(planned) = engine_operation(&schema, &document, operation, &JsonMap::new());
    let (_, operation) = planned.operations.iter().next().expect("an operation");
    let group = &operation.node.selection_set.node.items[0];
    assert_eq!(group.pos, Pos { line: 2, column: 3 });
    let engine::Selection::Field(group) = &group.node else { unreachable!("it is a field") };
    assert_eq!(group.node.selection_set.node.items[0].pos, Pos { line: 3, column: 5 });
}

/// Shows problems of the engine. When one of these tests fails, the problem is fixed: see the documentation of
/// [`engine`](crate::graphql::engine).
mod problems_of_the_engine {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(SimpleObject)]
    struct Thing {
        a: i32,
        b: i32,
    }

    struct Query(AtomicUsize);

    #[Object]
    impl Query {
        async fn thing(&self) -> Thing {
            self.0.fetch_add(1, Ordering::Relaxed);
            Thing { a: 1, b: 2 }
        }

        async fn calls(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn it_resolves_a_field_once_for_each_selection() {
        let schema = async_graphql::Schema::new(Query(AtomicUsize::new(0)), EmptyMutation, EmptySubscription);
        assert!(schema.execute("{ thing { a } ... { thing { b } } }").await.is_ok());
        let calls = schema.execute("{ calls }").await.data;
        assert_eq!(calls.to_string(), "{calls: 2}");
    }

    #[test]
    fn its_parser_rejects_valid_documents() {
        for valid in ["\"A description.\" query { thing { a } }", "{ thing(text: \"\\u{1F600}\") { a } }"] {
            assert!(parse_query(valid).is_err(), "{valid}");
        }
    }

    #[test]
    fn its_parser_loses_a_type_condition_after_a_comment() {
        let document = parse_query("{ thing { ... on # a comment\n Thing { a } } }").expect("it parses");
        let text = format!("{document:?}");
        assert!(!text.contains("on: Thing"), "{text}");
    }
}
