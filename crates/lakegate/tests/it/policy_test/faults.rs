//! `lakegate test`: faults in test files are all reported at once, with their positions, and no test runs.

use crate::policy_test::expectations::{ACCESS, call, project, run_json};

#[test]
fn faults_have_a_place_and_say_what_to_do() {
    let project = project();
    project.write(
        "tests/a.toml",
        "[[tests]]\nname = \"t\"\nas = \"p\"\nendpoint = \"sales\"\n[tests.expect]\nrow = 1\n[principal.p]\n",
    );
    project.write("tests/b.toml", "[[tests]\n");
    let ran = project.run(&["test"]);
    assert_eq!(ran.code, Some(1));
    let lines = ran.stdout.lines().collect::<Vec<_>>();
    assert_eq!(lines[0], "tests/a.toml:6:1: unknown key `row` in [tests.expect]; did you mean `rows`?");
    assert_eq!(lines[1], "tests/a.toml:7:2: unknown key `principal` in the file; did you mean `principals`?");
    assert!(lines[2].starts_with("tests/b.toml:1:") && lines[2].contains("not valid TOML"), "{lines:#?}");
    assert!(ran.stderr.contains("faults to mend"), "{}", ran.stderr);
    let (code, said) = run_json(&project, &[]);
    assert_eq!((code, &said["ok"], &said["findings"][0]["line"]), (Some(1), &false.into(), &6.into()));
}

#[test]
fn what_the_project_has_not_is_a_fault_of_the_file() {
    let project = project();
    let tests = [
        call("unknown principal", "ones", "rows = 1"),
        "[[tests]]\nname = \"e\"\nas = \"one\"\nendpoint = \"sale\"\nexpect = { rows = 1 }\n".to_owned(),
        "[[tests]]\nname = \"f\"\nas = \"one\"\nendpoint = \"sale\"\nexpect = { code = \"endpoint_unknown\" }\n"
            .to_owned(),
        "[[grants]]\nrole = \"client\"\nendpoint = \"product\"\n".to_owned(),
    ];
    project.write("tests/a.toml", format!("{ACCESS}{}", tests.concat()));
    let ran = project.run(&["test"]);
    assert_eq!(ran.code, Some(1));
    let said = ran.stdout.lines().map(|line| line.split_once(": ").unwrap().1).collect::<Vec<_>>();
    assert_eq!(
        said,
        [
            "the grant is for endpoint `product`, which the project has not; did you mean `products`?",
            "there is no principal `ones` in the file; did you mean `one`?",
            "there is no endpoint `sale`; did you mean `sales`?",
        ]
    );
    assert!(ran.stdout.lines().all(|line| line.starts_with("tests/a.toml:")), "{}", ran.stdout);
    // The matrix reads these files too.
    assert_eq!(project.run(&["test", "--matrix"]).stdout, ran.stdout);
}

#[test]
fn a_project_without_tests_says_how_to_write_them() {
    let project = project();
    assert!(project.fails(&["test"]).contains("write `tests/NAME.toml` with `[[tests]]`"));
    project.write("tests/a.toml", ACCESS);
    assert!(project.fails(&["test"]).contains("there are no tests in"));
}

#[test]
fn faults_of_the_project_are_said_like_those_of_check() {
    let project = project();
    project.write("tests/a.toml", format!("{ACCESS}{}", call("t", "one", "rows = 3")));
    project.write("endpoints/broken.sql", "/*---\nsummary = \"b\"\n---*/\nSELECT nothing FROM sale");
    let ran = project.run(&["test"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("endpoints/broken.sql:4:8: there is no column `nothing`"), "{}", ran.stdout);
}

#[test]
fn wrong_usage_is_another_exit_code() {
    let project = project();
    for arguments in [
        &["test", "--save"][..],
        &["test", "--by", "role"],
        &["test", "--matrix", "--filter", "x"],
        &["test", "--matrix", "tests/a.toml"],
        &["test", "--matrix", "--by", "token"],
    ] {
        assert_eq!(project.run(arguments).code, Some(2), "{arguments:?}");
    }
}
