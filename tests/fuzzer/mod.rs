//! Generates random requests: documents that follow the schema, with random changes in some of them, variables with valid and
//! invalid values, and bodies that are not GraphQL requests.

use apollo_compiler::Schema;
use apollo_compiler::ast::Type;
use apollo_compiler::schema::ExtendedType;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

/// Tokens of the schema and of the query language, and invalid ones.
const TOKENS: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ":",
    "!",
    "$",
    "@",
    "...",
    "=",
    "|",
    "&",
    "query",
    "mutation",
    "subscription",
    "fragment",
    "on",
    "true",
    "false",
    "null",
    "me",
    "user",
    "handle",
    "messageGroups",
    "messageGroup",
    "messages",
    "nodes",
    "edges",
    "cursor",
    "pageInfo",
    "participants",
    "lastMessage",
    "author",
    "createMessage",
    "feed",
    "events",
    "FeedEvent",
    "MessageAdded",
    "... on FeedReset",
    "reason",
    "unreadCount",
    "input",
    "to",
    "body",
    "first",
    "last",
    "after",
    "before",
    "createdFrom",
    "uuid",
    "__typename",
    "__schema",
    "__type",
    "types",
    "User",
    "Query",
    "Message",
    "Int",
    "String",
    "UUID",
    "DateTime",
    "$x",
    "$x: Int",
    "@include(if: true)",
    "@skip(if: $x)",
    "@deprecated",
    "0",
    "-1",
    "100",
    "2147483648",
    "1e400",
    "-0",
    "\"\"",
    "\"x\"",
    "\"\\u{1F4AC}\"",
    "\"\\uD83D\"",
    "\"\"\"block\"\"\"",
    "\"unterminated",
    "#comment",
    "\u{feff}",
    "\u{0}",
    "é",
    ",",
    "\\",
    "\"00000000-0000-4000-8000-000000000000\"",
    "\"2026-11-22T10:42:39Z\"",
];

/// Maximum depth of objects in a generated document.
const MAX_DEPTH: usize = 7;

/// Generates requests. The same seed gives the same requests.
pub struct Fuzzer {
    random: SmallRng,
    corpus: Vec<String>,
    schema: Schema,
    largest: usize,
}

/// Parts that are repeated to make long documents.
const LONG: [&str; 14] = [
    "{ me ",
    "me { uuid } ",
    "a: __typename ",
    "... { ",
    "... on Query { __typename } ",
    "...F ",
    "fragment F on Query { ...F } ",
    "@include(if: true) ",
    "query Q { __typename } ",
    "user(handle: \"x\") { uuid } ",
    "messageGroups(first: [[[[{a: {b: 1}}]]]]) { nodes { uuid } } ",
    "#\n",
    "\"\"\" \\\"\"\" ",
    "x",
];

/// The parts of an operation that is being generated.
#[derive(Default)]
struct Operation {
    /// Definitions such as `$name: Type`.
    variables: Vec<String>,
    values: Map<String, Value>,
    fragments: Vec<String>,
}

impl Fuzzer {
    /// Generates bodies of up to about `largest` bytes. `sdl` is the schema. `corpus` has more documents to change at random.
    pub fn new(seed: u64, sdl: &str, corpus: Vec<String>, largest: usize) -> Self {
        let schema = Schema::parse(sdl, "schema.graphql").expect("a schema");
        Self { random: SmallRng::seed_from_u64(seed), corpus, schema, largest }
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.random.random_range(0..many) == 0
    }

    /// Generates a document that is usually valid, and values for its variables.
    fn generated(&mut self) -> (String, Map<String, Value>) {
        let mut operation = Operation::default();
        let (kind, root) = if self.one_in(6) { ("mutation", "Mutation") } else { ("query", "Query") };
        let selection = self.selection(root, 0, &mut operation);
        let Operation { variables, values, fragments } = operation;
        let variables = if variables.is_empty() { String::new() } else { format!("({})", variables.join(", ")) };
        (format!("{kind} Fuzzed{variables} {selection} {}", fragments.join(" ")), values)
    }

    fn selection(&mut self, of: &str, depth: usize, operation: &mut Operation) -> String {
        let mut selected = Vec::new();
        let fields = match self.schema.types.get(of).cloned() {
            Some(ExtendedType::Object(object)) => object.fields.clone(),
            Some(ExtendedType::Interface(interface)) => {
                let implementers = self.schema.implementers_map();
                let objects = implementers.get(of).map(|it| it.objects.clone()).unwrap_or_default();
                for object in objects {
                    let inner = self.selection(object.as_str(), depth + 1, operation);
                    selected.push(format!("... on {object} {inner}"));
                }
                interface.fields.clone()
            }
            _ => return String::new(),
        };
        for _ in 0..self.random.random_range(1..5) {
            let chosen = self.random.random_range(0..fields.len());
            let Some(field) = fields.values().nth(chosen).cloned() else { continue };
            if self.one_in(12) {
                selected.push("__typename".to_owned());
            }
            if of == "Query" && self.one_in(10) {
                let inner = self.selection("__Schema", depth + 3, operation);
                selected.push(format!("__schema {inner}"));
            }
            let inner_type = field.ty.inner_named_type().as_str();
            let is_leaf = !matches!(
                self.schema.types.get(inner_type),
                Some(ExtendedType::Object(_) | ExtendedType::Interface(_))
            );
            if !is_leaf && depth > MAX_DEPTH {
                continue;
            }
            let mut arguments = Vec::new();
            for argument in &field.arguments {
                if argument.ty.is_non_null() || self.one_in(2) {
                    let value = self.literal(&argument.ty, 0, operation);
                    arguments.push(format!("{}: {value}", argument.name));
                }
            }
            let alias = if self.one_in(6) { format!("a{}: ", selected.len()) } else { String::new() };
            let arguments = if arguments.is_empty() { String::new() } else { format!("({})", arguments.join(", ")) };
            let directive = match self.random.random_range(0..20) {
                0 => "@include(if: true)",
                1 => "@skip(if: false)",
                2 => "@include(if: $flag)",
                _ => "",
            };
            if directive.contains('$') && !operation.values.contains_key("flag") {
                operation.variables.push("$flag: Boolean!".to_owned());
                operation.values.insert("flag".to_owned(), json!(self.one_in(2)));
            }
            let inner = if is_leaf { String::new() } else { self.selection(inner_type, depth + 1, operation) };
            let written = format!("{alias}{}{arguments} {directive} {inner}", field.name);
            selected.push(match self.random.random_range(0..12) {
                0 => format!("... on {of} {{ {written} }}"),
                1 => format!("... {{ {written} }}"),
                2 => {
                    let name = format!("F{}", operation.fragments.len());
                    operation.fragments.push(format!("fragment {name} on {of} {{ {written} }}"));
                    format!("...{name}")
                }
                _ => written,
            });
        }
        if selected.is_empty() {
            selected.push("__typename".to_owned());
        }
        format!("{{ {} }}", selected.join(" "))
    }

    /// Generates a value of a type, or a variable of that type.
    fn literal(&mut self, ty: &Type, depth: usize, operation: &mut Operation) -> String {
        if depth == 0 && self.one_in(3) {
            let name = format!("v{}", operation.variables.len());
            operation.variables.push(format!("${name}: {ty}"));
            let value = if self.one_in(4) { self.value(3) } else { self.json_of(ty, 0) };
            operation.values.insert(name.clone(), value);
            return format!("${name}");
        }
        if !ty.is_non_null() && self.one_in(8) {
            return "null".to_owned();
        }
        graphql(&self.json_of(ty, depth))
    }

    fn json_of(&mut self, ty: &Type, depth: usize) -> Value {
        match ty.inner_named_type().as_str() {
            "Int" => json!(*self.of(&[0, 1, 2, 20, 100, 101, -1, i64::from(i32::MAX), 3_000_000_000])),
            "Boolean" => json!(self.one_in(2)),
            "UUID" => json!(*self.of(&["00000000-0000-4000-8000-000000000000", "not a uuid", ""])),
            "DateTime" => {
                json!(*self.of(&["2026-11-22T10:42:39Z", "2026-11-22T10:42:39+14:00", "0000-01-01T00:00:00Z", "now"]))
            }
            "String" => json!(*self.of(&["nobody-has-this-handle", "", "\u{0}", "\u{1F4AC}\"\\\n", "ana"])),
            other => match self.schema.types.get(other).cloned() {
                Some(ExtendedType::InputObject(input)) if depth < 4 => {
                    let mut object = Map::new();
                    let is_one_of = input.directives.has("oneOf");
                    let chosen = self.random.random_range(0..input.fields.len().max(1));
                    for (index, field) in input.fields.values().enumerate() {
                        if !is_one_of || index == chosen || self.one_in(8) {
                            object.insert(field.name.to_string(), self.json_of(&field.ty, depth + 1));
                        }
                    }
                    Value::Object(object)
                }
                _ => self.value(4),
            },
        }
    }

    fn of<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.random.random_range(0..among.len())]
    }

    /// Inserts, removes, replaces and repeats tokens at random.
    fn changed(&mut self, text: &str) -> String {
        let mut tokens: Vec<String> = split(text);
        for _ in 0..self.random.random_range(0..6) {
            let at = self.random.random_range(0..=tokens.len());
            let token = TOKENS[self.random.random_range(0..TOKENS.len())].to_owned();
            match self.random.random_range(0..5) {
                0 => tokens.insert(at, token),
                1 if at < tokens.len() => drop(tokens.remove(at)),
                2 if at < tokens.len() => tokens[at] = token,
                3 if at < tokens.len() => {
                    // Repeats a part of the document.
                    let copies = self.random.random_range(1..40);
                    let end = (at + self.random.random_range(1..8)).min(tokens.len());
                    let part: Vec<String> = tokens[at..end].to_vec();
                    let at = end;
                    for _ in 0..copies {
                        tokens.splice(at..at, part.iter().cloned());
                    }
                }
                _ => {
                    let other = self.random.random_range(0..self.corpus.len());
                    let other = split(&self.corpus[other]);
                    tokens.splice(at..at, other);
                }
            }
        }
        tokens.join(" ")
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.random.random_range(0..if depth > 5 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.random.random_range(-3..200)),
            2 => json!(self.random.random_range(-1e30..1e30)),
            3 => json!(TOKENS[self.random.random_range(0..TOKENS.len())]),
            4 => json!(self.one_in(2)),
            5 => json!({ "handle": "nobody-has-this-handle" }),
            6 => (0..self.random.random_range(0..4)).map(|_| self.value(depth + 1)).collect(),
            _ => {
                let names = ["x", "h", "u", "n", "i", "to", "body", "handle", "messageGroupUuid"];
                let field = |fuzzer: &mut Self| {
                    let name = names[fuzzer.random.random_range(0..names.len())].to_owned();
                    (name, fuzzer.value(depth + 1))
                };
                Value::Object((0..self.random.random_range(0..5)).map(|_| field(self)).collect())
            }
        }
    }

    fn request(&mut self) -> Value {
        if self.one_in(2) {
            let (document, variables) = self.generated();
            if !self.one_in(4) {
                return json!({ "query": document, "variables": variables });
            }
            return json!({ "query": self.changed(&document), "variables": variables });
        }
        let chosen = self.random.random_range(0..self.corpus.len());
        let document = self.corpus[chosen].clone();
        let mut request = json!({ "query": self.changed(&document) });
        if self.one_in(2) {
            request["variables"] = self.value(0);
        }
        request
    }

    /// Generates a body that may be a valid request, invalid JSON, or random bytes.
    fn raw(&mut self) -> Vec<u8> {
        let length = self.random.random_range(20..self.largest);
        match self.random.random_range(0..9) {
            0 => (0..length).map(|_| self.random.random_range(0..=255)).collect(),
            1 => "[".repeat(length).into_bytes(),
            2 => format!(
                "{{\"query\":\"{{ __typename }}\",\"variables\":{}1{}}}",
                "{\"x\":".repeat(length / 6),
                "}".repeat(length / 6)
            )
            .into_bytes(),
            3 => format!("{{\"query\":{}}}", "1".repeat(length)).into_bytes(),
            4 => format!("{{{}\"query\":\"{{__typename}}\"}}", "\"query\":\"{ me { uuid } }\",".repeat(length / 20))
                .into_bytes(),
            5 => self.value(0).to_string().into_bytes(),
            _ => {
                let begin = *self.of(&[
                    "",
                    "{ ",
                    "query Q { ",
                    "query Q(",
                    "{ user(handle: ",
                    "{ user(handle: [",
                    "{ user(handle: \"\"\"",
                ]);
                let part = *self.of(&LONG);
                let end = *self.of(&["", " }", "\"\"\") { uuid } }"]);
                json!({ "query": format!("{begin}{}{end}", part.repeat(length / part.len())) }).to_string().into_bytes()
            }
        }
    }

    /// Returns the body of the next request.
    pub fn body(&mut self) -> Vec<u8> {
        if self.one_in(20) {
            return self.raw();
        }
        let mut request = self.request();
        if self.one_in(6) {
            request["operationName"] = self.value(6);
        }
        if self.one_in(10) {
            request["extensions"] = json!({ "persistedQuery": self.value(3) });
        }
        let mut bytes = request.to_string().into_bytes();
        if self.one_in(8) {
            for _ in 0..self.random.random_range(1..20) {
                let at = self.random.random_range(0..bytes.len());
                bytes[at] = self.random.random_range(0..=255);
            }
            bytes.truncate(self.random.random_range(0..=bytes.len()));
        }
        bytes
    }
}

fn split(text: &str) -> Vec<String> {
    let spaced: String =
        text.chars().flat_map(|it| if "{}()[]:!$@=".contains(it) { vec![' ', it, ' '] } else { vec![it] }).collect();
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// Writes a JSON value as a GraphQL literal.
fn graphql(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(graphql).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {}", graphql(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}
