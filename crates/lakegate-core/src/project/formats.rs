//! Parses `[formats]`: the limits of response formats.

use super::reader::Section;

/// Maximum number of rows of an Excel sheet below its header.
const ROWS_OF_A_SHEET: u64 = 1_048_575;

/// `[formats]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formats {
    /// Maximum number of rows of an XLSX response, the only format that is not streamed.
    pub xlsx_max_rows: u32,
}

impl Default for Formats {
    fn default() -> Self {
        Self { xlsx_max_rows: 100_000 }
    }
}

pub(crate) fn read(mut section: Section<'_, '_>) -> Formats {
    let xlsx_max_rows = section.integer("xlsx_max_rows", 1..=ROWS_OF_A_SHEET);
    section.finish();
    let default = Formats::default();
    Formats { xlsx_max_rows: xlsx_max_rows.map_or(default.xlsx_max_rows, |rows| rows.value as u32) }
}

#[cfg(test)]
mod tests {
    use super::super::config;

    fn read(text: &str) -> (u32, Vec<String>) {
        let (config, findings) = config::read(&format!("[lake]\nlocation = \"lake/\"\n{text}"), &Default::default());
        (config.formats.xlsx_max_rows, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_workbook_has_so_many_rows_unless_the_project_says_otherwise() {
        assert_eq!(read(""), (100_000, vec![]));
        assert_eq!(read("[formats]\nxlsx_max_rows = 1048575"), (1_048_575, vec![]));
    }

    #[test]
    fn faults_are_found_at_their_place() {
        let (_, findings) = read("[formats]\nxlsx_max_rows = 1048576");
        let wanted =
            "lakegate.toml:4:17: `xlsx_max_rows` in [formats] must be a whole number from 1 to 1048575, not `1048576`";
        assert_eq!(findings, [wanted]);
        let (_, findings) = read("[formats]\nxlsx_rows = 5");
        assert!(findings[0].contains("unknown key `xlsx_rows` in [formats]"), "{findings:?}");
    }
}
