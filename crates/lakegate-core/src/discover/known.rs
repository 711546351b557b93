//! Decides whether a declared table is the same as a found one.

/// Whether two locations below a lake have files in common: a folder and its content, a glob and a file that it
/// matches, `order` and `order.parquet`.
pub fn is_same_location(declared: &str, found: &str) -> bool {
    let (declared, found) = (plain(declared), plain(found));
    let is_below = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    let without_extension = |file: &str, name: &str| {
        let rest = file.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('.') && !rest.contains('/'))
    };
    declared == found
        || (!declared.is_empty() && is_below(found, declared))
        || (!found.is_empty() && is_below(declared, found))
        || without_extension(found, declared)
        || matches(declared, found)
        || matches(found, declared)
}

fn plain(location: &str) -> &str {
    location.trim_start_matches("./").trim_end_matches('/')
}

/// Whether a glob, which may only contain `*`, matches a path.
fn matches(pattern: &str, path: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == path };
    let Some(rest) = path.strip_prefix(before) else { return false };
    let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.take_while(|at| !rest[..*at].contains('/')).any(|at| matches(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_table_is_found_again_however_its_place_is_written() {
        for (declared, found) in [
            ("order/", "order/"),
            ("./order", "order/"),
            ("order", "order.parquet"),
            ("order*.parquet", "order-1.parquet"),
            ("sales/*/x.csv", "sales/a/x.csv"),
            ("sales/", "sales/a/"),
            ("sales/a.csv", "sales/"),
        ] {
            assert!(is_same_location(declared, found), "{declared} {found}");
        }
        for (declared, found) in
            [("order", "orders/"), ("order", "order_old.parquet"), ("a*.csv", "a/b.csv"), ("order/", "orders.csv")]
        {
            assert!(!is_same_location(declared, found), "{declared} {found}");
        }
    }
}
