//! proxy.toml as an operator meets it.

use std::num::NonZeroUsize;

use authferry::config::{Config, Environment};

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::new(variables.iter().copied(), NonZeroUsize::new(4).expect("not zero"))
}

fn load(text: &str) -> Result<Config, String> {
    Config::from_text(text, "proxy.toml", &environment(&[])).map_err(|problems| problems.to_string())
}

#[test]
fn x_contract() {
    for file in ["tests/it/fixtures/contract.toml", "examples/json-server-auth.toml", "examples/django-djoser.toml"] {
        let text = std::fs::read_to_string(file).expect("a file");
        match load(&text) {
            Ok(config) => {
                for w in config.warnings {
                    println!("{w}");
                }
            }
            Err(problems) => println!("{problems}"),
        }
    }
    println!("{}", serde_json::to_string_pretty(&authferry::config::schema()).unwrap());
}
