//! What the README shows is true.

use std::io::Write;
use std::process::{Command, Stdio};

use cdps_tests::project;

fn readme() -> String {
    std::fs::read_to_string(project().join("README.md")).expect("README.md")
}

#[test]
fn the_example_in_c_compiles() {
    let text = readme();
    let example =
        text.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of C");
    let include = project().join("include");
    let mut gcc = Command::new("gcc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", "-", "-I"])
        .arg(include)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("gcc");
    gcc.stdin.take().expect("its input").write_all(example.as_bytes()).expect("written");
    let done = gcc.wait_with_output().expect("ended");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn every_make_target_and_folder_that_it_names_exists() {
    let text = readme();
    let makefile = std::fs::read_to_string(project().join("Makefile")).expect("Makefile");
    let words: Vec<&str> = text.split(['`', '\n']).collect();
    let targets = words
        .iter()
        .filter_map(|word| word.strip_prefix("make "))
        .filter_map(|rest| rest.split_whitespace().next());
    let mut count = 0;
    for target in targets {
        assert!(makefile.contains(&format!("\n{target}:")), "make {target} does not exist");
        count += 1;
    }
    assert!(count >= 4, "only {count} targets were found in the README");
    let layout =
        text.split("## Layout").nth(1).and_then(|rest| rest.split("## ").next()).expect("the layout");
    for line in layout.lines().filter(|line| line.starts_with("| `")) {
        let cell = line.split('|').nth(1).expect("a cell");
        for name in cell.split('`').skip(1).step_by(2) {
            assert!(project().join(name).exists(), "{name} does not exist");
        }
    }
}
