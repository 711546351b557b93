//! Allow list of the functions that a query may call. It is a list, so that a new version of DataFusion adds no
//! function that nobody has reviewed.
//!
//! Each function returns the same result for the same rows and reads nothing but its arguments. The test of extreme
//! arguments in [`super::extreme_tests`] calls each of them. `docs/sql.md` lists them for authors.

/// Leakproof functions, which never fail. They are called unwrapped, because DataFusion recognises some by their type.
const NEVER_FAIL: &[&str] = &[
    "array_has",
    "array_has_all",
    "array_has_any",
    "btrim",
    "character_length",
    "coalesce",
    "contains",
    "ends_with",
    "get_field",
    "greatest",
    "least",
    "lower",
    "ltrim",
    "named_struct",
    "nullif",
    "nvl",
    "nvl2",
    "octet_length",
    "rtrim",
    "starts_with",
    "struct",
    "upper",
];

/// The other scalar functions.
const SCALAR: &[&str] = &[
    // Numbers.
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "cot",
    "degrees",
    "exp",
    "factorial",
    "floor",
    "gcd",
    "isnan",
    "iszero",
    "lcm",
    "ln",
    "log",
    "log10",
    "log2",
    "nanvl",
    "pi",
    "power",
    "radians",
    "round",
    "signum",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
    // Text.
    "ascii",
    "bit_length",
    "chr",
    "concat",
    "concat_ws",
    "find_in_set",
    "initcap",
    "left",
    "levenshtein",
    "lpad",
    "overlay",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "split_part",
    "strpos",
    "substr",
    "substr_index",
    "to_hex",
    "translate",
    // Dates and times.
    "date_bin",
    "date_part",
    "date_trunc",
    "from_unixtime",
    "make_date",
    "make_time",
    "to_char",
    "to_date",
    "to_local_time",
    "to_time",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_nanos",
    "to_timestamp_seconds",
    "to_unixtime",
    // Types.
    "arrow_cast",
    "arrow_try_cast",
    "arrow_typeof",
    // Lists, maps and structs.
    "array_any_value",
    "array_append",
    "array_concat",
    "array_dims",
    "array_distance",
    "array_distinct",
    "array_element",
    "array_except",
    "array_intersect",
    "array_length",
    "array_max",
    "array_min",
    "array_ndims",
    "array_normalize",
    "cosine_distance",
    "inner_product",
    "array_pop_back",
    "array_pop_front",
    "array_position",
    "array_positions",
    "array_prepend",
    "array_remove",
    "array_remove_all",
    "array_remove_n",
    "array_repeat",
    "array_replace",
    "array_replace_all",
    "array_replace_n",
    "array_resize",
    "array_reverse",
    "array_slice",
    "array_sort",
    "array_to_string",
    "array_union",
    "arrays_zip",
    "cardinality",
    "empty",
    "flatten",
    "generate_series",
    "make_array",
    "map",
    "map_entries",
    "map_extract",
    "map_keys",
    "map_values",
    "range",
    "string_to_array",
];

/// Aggregate functions. For the planner, `grouping` is one too.
const AGGREGATE: &[&str] = &[
    "approx_distinct",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "median",
    "min",
    "nth_value",
    "percentile_cont",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "string_agg",
    "sum",
    "var",
    "var_pop",
];

/// Functions that are window functions only.
const WINDOW: &[&str] = &["cume_dist", "dense_rank", "lag", "lead", "ntile", "percent_rank", "rank", "row_number"];

/// Whether a query may call the function with this name.
pub(crate) fn is_allowed(function: &str) -> bool {
    [NEVER_FAIL, SCALAR, AGGREGATE, WINDOW].iter().any(|functions| functions.contains(&function))
}

/// Whether a function returns a value for every argument, so that it may stand in a row filter and below a barrier.
pub(crate) fn never_fails(function: &str) -> bool {
    NEVER_FAIL.contains(&function)
}

/// Whether a function is called without a wrapper.
pub(super) fn cannot_fail(function: &str) -> bool {
    never_fails(function) || !SCALAR.contains(&function)
}

/// The replacement to suggest for a function that is not allowed.
pub(crate) fn suggestion(function: &str) -> Option<&'static str> {
    Some(match function {
        "approx_median" => "write `median(…)`: the approximate one depends on the order of rows",
        "approx_percentile_cont" | "approx_percentile_cont_with_weight" => {
            "write `percentile_cont(…)`: the approximate one depends on the order of rows"
        }
        _ => return None,
    })
}

#[cfg(test)]
pub(super) fn scalar_functions() -> impl Iterator<Item = &'static str> {
    NEVER_FAIL.iter().chain(SCALAR).copied()
}

#[cfg(test)]
pub(super) fn aggregate_functions() -> &'static [&'static str] {
    AGGREGATE
}

#[cfg(test)]
pub(super) fn window_functions() -> &'static [&'static str] {
    WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_function() {
        let page = include_str!("../../../../docs/sql.md");
        for function in [NEVER_FAIL, SCALAR, AGGREGATE, WINDOW].concat() {
            assert!(page.contains(&format!("`{function}`")), "docs/sql.md lacks `{function}`");
        }
    }

    #[test]
    fn only_listed_functions_are_allowed() {
        for function in
            ["random", "uuid", "version", "input_file_name", "approx_median", "approx_percentile_cont", "union_extract"]
        {
            assert!(!is_allowed(function), "{function}");
        }
        assert!(is_allowed("sum") && is_allowed("repeat") && is_allowed("lower") && is_allowed("rank"));
    }
}
