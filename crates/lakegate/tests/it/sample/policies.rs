//! The sample's own policy tests: they pass on a sample lake, and each endpoint has a test.

use lakegate::sample::{Sample, write_project, write_rows};

use crate::support::binary::Project;

#[test]
fn the_policies_of_the_sample_hold_and_every_endpoint_has_a_test() {
    let project = Project::new();
    let folder = project.path();
    std::fs::remove_file(folder.join("lakegate.toml")).unwrap();
    write_project(folder).unwrap();
    write_rows(&Sample::new(1, 0.05).unwrap().rows(), &folder.join("lake")).unwrap();
    let said = project.ok(&["test"]);
    assert!(said.contains(" 0 failed; access is not wider than saved"), "{said}");
    let tests = std::fs::read_to_string(folder.join("tests/policies.toml")).unwrap();
    for file in std::fs::read_dir(folder.join("endpoints")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(tests.contains(&format!("endpoint = \"{name}\"\n")), "no test of {name}");
    }
    // The tests call endpoints with each role.
    for role in ["owner", "partner", "support", "operator"] {
        assert!(tests.contains(&format!("roles = [\"{role}\"]")), "{role}");
    }
}
