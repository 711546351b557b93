//! Validates names and paths in project files.

/// Parameter names that are modifiers of every request.
pub const RESERVED_PARAMETERS: &[&str] =
    &["select", "order", "limit", "offset", "format", "csv_guard", "page_size", "cursor", "as_of"];

/// Query parameter names that would carry a token, which must never be in a URL.
pub const TOKEN_PARAMETERS: &[&str] =
    &["token", "access_token", "api_key", "apikey", "x-api-key", "authorization", "enterprise_key", "enterprisekey"];

/// The fault of a table or column name, if any.
pub(crate) fn sql_name_fault(name: &str) -> Option<&'static str> {
    let shaped = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|each| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '_');
    (!shaped || name.len() > 63)
        .then_some("must be at most 63 lowercase letters, digits and underscores, and not start with a digit")
}

/// The fault of a tag, if any.
pub(crate) fn tag_fault(tag: &str) -> Option<&'static str> {
    let shaped = tag.starts_with(|first: char| first.is_ascii_lowercase())
        && tag.chars().all(|each| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '_' || each == '-');
    (!shaped || tag.len() > 63)
        .then_some("must be at most 63 lowercase letters, digits, underscores and hyphens, and start with a letter")
}

/// The fault of a parameter name, if any.
pub(crate) fn parameter_fault(name: &str) -> Option<&'static str> {
    if RESERVED_PARAMETERS.contains(&name) {
        return Some("has a meaning of its own in requests; choose another name");
    }
    if TOKEN_PARAMETERS.contains(&name) {
        return Some("looks like a token, which must never be in a URL; choose another name");
    }
    sql_name_fault(name)
}

/// The fault of an endpoint name (the file's name without `.sql`), if any.
pub(crate) fn endpoint_fault(name: &str) -> Option<&'static str> {
    let shaped = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|each| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '_' || each == '-');
    (!shaped || name.len() > 100)
        .then_some("must be at most 100 lowercase letters, digits, underscores and hyphens, and start with a letter")
}

/// The fault of a base path, if any.
pub(crate) fn base_path_fault(path: &str) -> Option<&'static str> {
    let segments_shaped = path.split('/').skip(1).all(|segment| {
        !segment.is_empty() && segment.chars().all(|each| each.is_ascii_alphanumeric() || "_-.~".contains(each))
    });
    if !path.starts_with('/') {
        Some("must start with `/`")
    } else if path != "/" && !segments_shaped {
        Some("must be segments of letters, digits, `_`, `-`, `.` and `~`, without a `/` at the end")
    } else if path.split('/').any(|segment| segment == "." || segment == "..") {
        Some("must not have `.` or `..` as a segment")
    } else if ["/api", "/health", "/admin", "/docs"]
        .iter()
        .any(|taken| path == *taken || path.starts_with(&format!("{taken}/")))
    {
        Some("is taken; `/api` serves the endpoints always")
    } else {
        None
    }
}

/// The fault of a table's location, if any. A location must stay below the lake.
pub(crate) fn location_fault(location: &str) -> Option<&'static str> {
    if location.is_empty() {
        Some("is empty")
    } else if location.starts_with('/') || location.contains(":/") || location.contains('\\') {
        Some("must be relative to the lake")
    } else if location.split('/').any(|segment| segment == "..") {
        Some("must not leave the lake with `..`")
    } else {
        None
    }
}
