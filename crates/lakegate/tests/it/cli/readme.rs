//! Checks the README and the pages in `docs/` against the binary: commands run, flags exist, keys are accepted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use lakegate::cli::Cli;
use lakegate_core::error::CODES;
use lakegate_core::project::ingest::Recipe;
use lakegate_core::project::{PolicyTestFile, Project as Checked, ProjectFiles};
use serde_json::{Value as Json, json};

use crate::serve::demo::curl_is_there;
use crate::serve::process::{serve, shop};
use crate::support::binary::{Project, Ran};
use crate::support::wire::Process;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The pages for users.
fn pages() -> Vec<(String, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|file| file.unwrap().path());
    let mut pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect::<Vec<_>>();
    pages.sort();
    pages.insert(0, root().join("README.md"));
    pages.push(root().join("examples/logistics/README.md"));
    let page = |path: &PathBuf| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, std::fs::read_to_string(path).unwrap())
    };
    pages.iter().map(page).collect()
}

/// The fenced code blocks of a language, in order.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    page.split(&opening).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

fn page(name: &str) -> String {
    pages().into_iter().find(|(page, _)| page == name).unwrap().1
}

/// Runs a block in a shell with lakegate on its path, and a valid token in `TOKEN`.
fn shell(folder: &Path, script: &str, token: &str) -> Ran {
    let program = Path::new(env!("CARGO_BIN_EXE_lakegate"));
    let path = std::env::join_paths(
        std::iter::once(program.parent().unwrap().to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]).current_dir(folder).env("PATH", path.unwrap()).env("TOKEN", token);
    Ran::of(command.output().unwrap())
}

/// Runs the README's section on your own project, with lakegate already installed and the server on a free port.
#[test]
fn the_commands_of_the_readme_run_from_nothing_to_an_answer() {
    let readme = page("README.md");
    let script = blocks(&readme, "sh").into_iter().find(|block| block.contains("lakegate init")).unwrap();
    let (install, rest) = script.split_once('\n').unwrap();
    assert_eq!(install, "cargo install --path crates/lakegate");
    let (rest, last) = rest.rsplit_once('\n').unwrap();
    assert_eq!(last, "lakegate serve");
    let project = Project::new();
    let ran = shell(project.path(), rest, "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let token = ran.stdout.lines().last().unwrap();
    let arguments = ["serve", "--project", "my-lake", "--listen", "127.0.0.1:0", "--json"];
    let server = Process::start(&mut project.command(&arguments));
    let endpoints = server.get("/api", token).json()["endpoints"].clone();
    assert!(!endpoints.as_array().unwrap().is_empty());
    assert!(!server.get("/api/best_products", token).rows().is_empty());
}

/// The README's example endpoint works in that project.
#[test]
fn the_endpoint_of_the_readme_works_in_the_project_of_the_readme() {
    let (project, token) = shop();
    let readme = page("README.md");
    let sql = blocks(&readme, "sql")[0].to_owned();
    project.write("shop/endpoints/sales_since.sql", sql);
    let server = serve(&project, &[]);
    let rows = server.get("/api/sales_since?since=2000-01-01", &token).rows();
    assert!(!rows.is_empty());
    for (page, text) in pages() {
        // Each SQL file on a page is valid, apart from the tables of its lake.
        for sql in blocks(&text, "sql") {
            let files = ProjectFiles {
                config: "[lake]\nlocation = \".\"\n".into(),
                endpoints: [("endpoints/shown.sql".to_owned(), sql.to_owned())].into(),
                ..ProjectFiles::default()
            };
            let (_, findings) = Checked::read(&files);
            assert!(findings.is_empty(), "{page}: {findings:?}");
        }
    }
}

/// Runs the `curl` lines of the pages against a demo server.
#[test]
fn the_curl_lines_of_the_pages_are_answered() {
    if !curl_is_there() {
        return;
    }
    let project = Project::new();
    let arguments = ["demo", "--dir", "demo", "--scale", "0.005", "--listen", "127.0.0.1:0", "--json"];
    let server = Process::start(&mut project.command(&arguments));
    let token = server.said["principals"][0]["token"].as_str().unwrap();
    let mut calls = 0;
    let others = ["docs/admin.md", "docs/formats.md"];
    for (name, text) in pages().into_iter().filter(|(name, _)| !others.contains(&name.as_str())) {
        for block in blocks(&text, "sh").into_iter().filter(|block| block.contains("curl ")) {
            let script = block.replace("http://127.0.0.1:8080", server.said["url"].as_str().unwrap());
            let ran = shell(project.path(), &script, token);
            assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
            for answer in serde_json::Deserializer::from_str(&ran.stdout).into_iter::<Json>() {
                let answer = answer.unwrap();
                assert!(answer[0]["count"].is_i64() || answer["openapi"].is_string(), "{name}: {}", ran.stdout);
                calls += 1;
            }
        }
    }
    assert_eq!(calls, 4);

    // The page on formats fetches a line of CSV and a file.
    let formats = page("docs/formats.md");
    let [block] = blocks(&formats, "sh").try_into().unwrap();
    let script = block.replace("http://127.0.0.1:8080", server.said["url"].as_str().unwrap());
    let ran = shell(project.path(), &script, token);
    assert!(ran.code == Some(0) && ran.stdout.starts_with("count\r\n"), "{ran:?}");
    assert!(std::fs::read(project.path().join("count_orders_by_range.parquet")).unwrap().ends_with(b"PAR1"));
}

/// Runs docs/admin.md, in the page's order, against a server with the admin API.
#[test]
fn the_curl_lines_of_the_page_on_administration_are_answered() {
    if !curl_is_there() {
        return;
    }
    let (project, _) = shop();
    project.ok(&["principal", "add", "alice", "--project", "shop"]);
    let admin = project.ok(&["token", "issue", "alice", "--admin", "--project", "shop"]).trim().to_owned();
    let server = serve(&project, &["--admin-listen", "127.0.0.1:0"]);
    let token = project.json(&["token", "issue", "acme", "--project", "shop"])["id"].clone();
    let grant = project.json(&["grant", "add", "--role", "r", "--endpoint", "*", "--project", "shop"])["id"].clone();
    let text = page("docs/admin.md");
    let calls = blocks(&text, "sh").into_iter().filter(|block| block.contains("curl ")).collect::<Vec<_>>().join("\n");
    // The page adds a principal with the name of the starter's principal, so use another name.
    let script = calls
        .replace("acme", "globex")
        .replace("http://127.0.0.1:8081", server.said["admin_url"].as_str().unwrap())
        .replace("TOKEN_ID", token.as_str().unwrap())
        .replace("GRANT_ID", grant.as_str().unwrap())
        .replace("curl ", "curl --silent --show-error --fail ");
    let ran = shell(project.path(), &format!("ADMIN={admin}\n{script}"), "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let answers = serde_json::Deserializer::from_str(&ran.stdout).into_iter::<Json>().map(Result::unwrap).count();
    assert_eq!(answers, calls.matches("curl ").count());
}

/// Runs all commands of docs/access.md, in the page's order.
#[test]
fn the_commands_of_the_page_on_access_run() {
    let project = Project::new();
    project.ok(&["init", "."].map(|argument| if argument == "." { "my-lake" } else { argument }));
    let folder = project.path().join("my-lake");
    let access = page("docs/access.md");
    project.write(
        "my-lake/endpoints/count_orders_by_range.sql",
        "/*---\nsummary = \"x\"\n---*/\nSELECT count(*) AS count FROM sale\n",
    );
    project.write("my-lake/access_control_table.parquet", "");
    for block in blocks(&access, "sh") {
        for line in block.lines() {
            let id = |of: &str| {
                let listed = project.json(&[of, "list", "--project", "my-lake"]);
                let last =
                    listed.as_array().and_then(|all| all.iter().rev().find(|one| one["state"] == "active").cloned());
                last.map(|one| one["id"].as_str().unwrap().to_owned()).unwrap_or_default()
            };
            let script = line.replace("TOKEN_ID", &id("token")).replace("GRANT_ID", &id("grant"));
            let ran = shell(&folder, &script, "");
            if line.contains("access import") {
                // The file is empty, so check only that the command tried to read it.
                assert!(ran.stderr.contains("access_control_table.parquet"), "{ran:?}");
                continue;
            }
            assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        }
    }
}

/// Each `lakegate …` in the pages, the sample's files and the help is a valid command with valid options.
#[test]
fn every_command_that_is_shown_exists() {
    let mut shown = pages();
    shown.push(("the changelog".to_owned(), std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap()));
    for file in lakegate::sample::project::files().iter().chain(lakegate::sample::project::starter_files()) {
        shown.push((file.0.to_owned(), file.1.to_owned()));
    }
    helps(&Cli::command(), &mut shown);
    let mut commands = 0;
    for (place, text) in &shown {
        for (at, _) in text.match_indices("lakegate ") {
            // Prose contains the name too; a command to type is in a block, indented, or in backquotes.
            let line = text[..at].rsplit('\n').next().unwrap();
            let (before, fence) = (text[..at].chars().next_back(), text[..at].matches("```").count() % 2 == 1);
            let typed = before == Some('`')
                || (fence && line.is_empty())
                || (line.starts_with("  ") && line.trim().is_empty())
                || line.ends_with("&& ")
                || line.starts_with("#   ") && line[1..].trim().is_empty();
            if !typed {
                continue;
            }
            let end = if before == Some('`') { '`' } else { '\n' };
            let typed = text[at..].split(end).next().unwrap().split("   ").next().unwrap();
            is_command(place, typed);
            commands += 1;
        }
    }
    assert!(commands > 50, "{commands}");
}

/// The long help of a command and of all its subcommands.
fn helps(command: &clap::Command, into: &mut Vec<(String, String)>) {
    into.push((format!("help of `{}`", command.get_name()), command.clone().render_long_help().to_string()));
    for below in command.get_subcommands() {
        helps(below, into);
    }
}

fn is_command(place: &str, typed: &str) {
    let mut command = Cli::command();
    let words =
        typed.split_whitespace().skip(1).take_while(|word| !matches!(*word, "&&" | "|" | ">")).collect::<Vec<_>>();
    for word in words {
        let word = word.trim_matches(['\'', '"', ')', '(', ',', ';', '.', ':']);
        if let Some(option) = word.strip_prefix("--") {
            let name = option.split('=').next().unwrap();
            let known = command.get_arguments().any(|argument| argument.get_long() == Some(name))
                || matches!(name, "help" | "version");
            assert!(known, "{place}: `{typed}` has the option `{word}`, which `{}` has not", command.get_name());
        } else if command.has_subcommands() {
            let below = word.split('|').map(|name| command.find_subcommand(name).cloned()).collect::<Option<Vec<_>>>();
            let below = below.unwrap_or_else(|| panic!("{place}: `{typed}`: `{}` has no `{word}`", command.get_name()));
            command = below.into_iter().next().unwrap();
        }
    }
}

/// Each `toml` block of the pages is accepted, as it is or within its section.
#[test]
fn every_key_that_is_shown_is_taken() {
    for (name, text) in pages() {
        for block in blocks(&text, "toml") {
            if name == "docs/testing.md" {
                let (_, findings) = PolicyTestFile::read("tests/shown.toml", block);
                assert!(findings.is_empty(), "{name}: {findings:#?}\n{block}");
                continue;
            }
            if name == "docs/ingest.md" {
                let (_, findings) = Recipe::read("tables/shown.ingest.toml", block);
                assert!(findings.is_empty(), "{name}: {findings:#?}\n{block}");
                continue;
            }
            let lake = if block.contains("[lake]") { "" } else { "[lake]\nlocation = \"lake/\"\n" };
            let mut config = format!("{lake}{block}\n");
            if block.contains("[tables.event.partitions]") {
                config = format!("{lake}[tables.event]\nlocation = \"event\"\nshared = true\n{block}\n");
            }
            let (_, findings) = Checked::read(&ProjectFiles { config: config.clone(), ..ProjectFiles::default() });
            // A block may show one key of a table without the table's required keys.
            let mut expected = vec!["has no `location`", "has neither `row_filter` nor `shared`"];
            if name == "docs/discover.md" {
                // docs/discover.md shows configurations that still need a decision.
                expected.push("nobody has decided yet");
            }
            let faults = findings.iter().map(ToString::to_string);
            let faults = faults.filter(|finding| !expected.iter().any(|words| finding.contains(words)));
            assert_eq!(faults.collect::<Vec<_>>(), Vec::<String>::new(), "{name}:\n{config}");
        }
    }
}

/// The problem in docs/errors.md equals a real one.
#[test]
fn the_problem_of_the_page_on_errors_is_the_one_that_is_made() {
    let project = Project::new();
    let arguments = ["demo", "--dir", "demo", "--scale", "0.002", "--listen", "127.0.0.1:0", "--json"];
    let server = Process::start(&mut project.command(&arguments));
    let token = server.said["principals"][0]["token"].as_str().unwrap();
    let mut made = server.get("/api/count_orders_by_range?end_datetime=2022-10-31", token).json();
    let errors = page("docs/errors.md");
    let mut shown = serde_json::from_str::<Json>(blocks(&errors, "json")[0]).unwrap();
    for problem in [&mut made, &mut shown] {
        assert!(problem["request_id"].as_str().is_some_and(|id| id.len() == 36));
        problem["request_id"] = json!("");
    }
    assert_eq!(serde_json::to_string_pretty(&made).unwrap(), serde_json::to_string_pretty(&shown).unwrap());
    assert!(CODES.iter().all(|code| errors.contains(&format!("### {code}\n"))));
}

#[test]
fn the_help_names_every_command() {
    let help = Cli::command().term_width(100).render_help().to_string();
    insta::assert_snapshot!(help, @r"
    Turns a data lake into a governed REST API

    Usage: lakegate <COMMAND>

    Commands:
      demo       Generate a sample lake and project, and serve it
      init       Write a small working project to start from
      discover   Find the tables of a lake and add them to a project, where you decide who sees their
                 rows
      check      Report every fault of a project
      config     Print the effective configuration and the source of each value
      endpoints  List the endpoints of a project, or describe them to a principal as OpenAPI
      ingest     Load CSV, NDJSON or Parquet files into a table, by a recipe or by options
      advise     Recommend how to lay out the tables of a project in their files
      optimize   Rewrite tables with a better layout, so that a request reads little of them
      explain    Explain what decides a principal's call of an endpoint
      test       Run the tests of the project's policies
      serve      Serve a project over HTTP
      health     Check whether a server is ready
      principal  Manage principals: clients, apps and operators, with the attributes that policies use
      token      Manage tokens, the secrets that authenticate principals
      grant      Manage grants, which allow a principal or role to call an endpoint
      access     Import principals, tokens and grants from a table
      audit      Show and search the audit log of requests and their outcomes
      help       Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    See it work:
      lakegate demo

    Examples, in a project folder:
      lakegate check
      lakegate serve
      lakegate principal add acme --attribute client_id=4562 --role client
      lakegate grant add --role client --endpoint '*'
      TOKEN=$(lakegate token issue acme --expires-in 90d)

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 an import or ingest that refused a part, or a call
    that would be refused.
    ");
}
