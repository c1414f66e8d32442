//! `schema.graphql` is what the code says.

#[test]
fn schema_graphql_is_current() {
    let committed = include_str!("../../schema.graphql");
    let message = "write it anew: cargo run -- schema > schema.graphql";
    assert!(committed == cruddur_messaging::graphql::sdl(), "schema.graphql is stale; {message}");
}

#[test]
fn everything_is_described() {
    let sdl = cruddur_messaging::graphql::sdl();
    let lines: Vec<&str> = sdl.lines().map(str::trim).collect();
    for (above, line) in lines.iter().zip(lines.iter().skip(1)) {
        let defines = ["type ", "input ", "scalar ", "enum "].iter().any(|word| line.starts_with(word));
        let is_field =
            line.contains(": ") && !line.contains('"') && !line.contains("query:") && !line.contains("mutation:");
        let is_end = line.starts_with(')');
        if (defines || is_field) && !is_end && !line.starts_with("directive") {
            assert!(above.ends_with('"'), "no description: {line}");
        }
    }
}
