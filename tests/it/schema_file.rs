//! `schema.graphql` is the schema of the code.

#[test]
fn schema_graphql_is_current() {
    let committed = include_str!("../../schema.graphql");
    let message = "write it again: cargo run -- schema > schema.graphql";
    assert!(committed == cruddur_messaging::graphql::sdl(), "schema.graphql is stale; {message}");
}

#[test]
fn every_type_field_and_argument_has_a_description() {
    let sdl = cruddur_messaging::graphql::sdl();
    let lines: Vec<&str> = sdl.lines().map(str::trim).collect();
    for (above, line) in lines.iter().zip(lines.iter().skip(1)) {
        let definitions = ["type ", "interface ", "input ", "scalar ", "enum ", "union "];
        let defines = definitions.iter().any(|word| line.starts_with(word));
        let roots = ["query:", "mutation:", "subscription:"];
        let is_field = line.contains(": ") && !line.contains('"') && !roots.iter().any(|root| line.contains(root));
        let is_end = line.starts_with(')');
        if (defines || is_field) && !is_end && !line.starts_with("directive") {
            assert!(above.ends_with('"'), "no description: {line}");
        }
    }
}
