//! Describes a caller schema in CommonMark: what JSON Schema cannot express about a parameter, and what the caller's grants
//! require.

use super::caller_schema::{Bounds, CallerSchema, GrantSchema, Narrowing};
use super::json_schema::is_portable;
use crate::project::Param;
use crate::value::{Scalar, ScalarType};

/// The description of the parameter at index `at`; `None` if its schema is complete.
pub fn parameter_description(caller_schema: &CallerSchema<'_>, at: usize) -> Option<String> {
    let param = caller_schema.endpoint().params.get(at)?;
    let mut sentences = param.description.iter().map(|text| text.trim().to_owned()).collect::<Vec<_>>();
    let narrowings = caller_schema.narrowings(at);
    let is_one = narrowings.len() == 1;
    match narrowings.as_slice() {
        [] => sentences.extend(range(param, &Bounds::declared(param))),
        [Narrowing::Within(bounds) | Narrowing::Own(bounds)] => sentences.extend(range(param, bounds)),
        _ => {}
    }
    if let Some(pattern) = param.pattern.as_ref().filter(|pattern| !is_portable(&pattern.text)) {
        sentences.push(format!(
            "The whole text must match the regular expression {} (as in the Rust crate regex)",
            code(&pattern.text)
        ));
    }
    if is_one {
        let omittable = caller_schema.is_omittable(at);
        sentences.extend(match narrowings[0] {
            Narrowing::Fixed(_) => Some("Your grant fixes this value; it can be left out".to_owned()),
            Narrowing::Own(_) if omittable => {
                Some("Your grant fixes this to what you stand for; leave it out".to_owned())
            }
            Narrowing::Own(_) => Some("Your grant takes only what you stand for".to_owned()),
            Narrowing::Withheld { set: true } if omittable => {
                Some("Your grant sets this value; leave it out".to_owned())
            }
            Narrowing::Withheld { .. } => Some("Your grant narrows the values".to_owned()),
            Narrowing::Within(_) => Some("Your grant narrows the values to these".to_owned()),
        });
    } else if !narrowings.is_empty() {
        sentences.push("Your grants narrow the values".to_owned());
    }
    if sentences.is_empty() { None } else { Some(joined(&sentences)) }
}

/// Describes what the grants require beyond single parameters: distances, and rules that must be met together.
pub fn terms_description(caller_schema: &CallerSchema<'_>) -> Option<String> {
    match caller_schema.grants() {
        [] => Some(
            "No grant of yours fits this endpoint: every call is refused. Ask the operator to mend the grant."
                .to_owned(),
        ),
        [one] => {
            let distance_limits = distance_limits(one);
            (!distance_limits.is_empty()).then(|| format!("Your grant asks that {}.", distance_limits.join(", and ")))
        }
        // A grant without requirements admits whatever the others do.
        many if many.iter().any(GrantSchema::is_whole) => None,
        many => {
            let mut text = "The arguments must meet one of your grants as a whole:\n".to_owned();
            for grant in many {
                let params = caller_schema.endpoint().params.iter().enumerate();
                let mut parts = params
                    .filter_map(|(at, param)| {
                        Some(format!("{} is {}", code(&param.name), allowed(grant.narrowing(at)?)))
                    })
                    .collect::<Vec<_>>();
                parts.extend(distance_limits(grant));
                text.push_str(&format!("\n- {}", parts.join("; ")));
            }
            Some(text)
        }
    }
}

fn distance_limits(grant: &GrantSchema<'_>) -> Vec<String> {
    let distance_limits = grant.distance_limits.iter();
    distance_limits
        .map(|term| format!("{} is at most {} after {}", code(&term.to), term.at_most, code(&term.from)))
        .collect()
}

fn allowed(narrowing: &Narrowing) -> String {
    let bounds = match narrowing {
        Narrowing::Fixed(value) => return value.scalars().iter().map(quoted).collect::<Vec<_>>().join(", "),
        Narrowing::Withheld { .. } => return "what the grant allows".to_owned(),
        Narrowing::Own(bounds) | Narrowing::Within(bounds) => bounds,
    };
    let own = matches!(narrowing, Narrowing::Own(_)).then(|| "what you stand for".to_owned());
    let listed = (!bounds.one_of.is_empty())
        .then(|| format!("one of {}", bounds.one_of.iter().map(quoted).collect::<Vec<_>>().join(", ")));
    let min = bounds.min.as_ref().map(|min| format!("at least {}", quoted(min)));
    let max = bounds.max.as_ref().map(|max| format!("at most {}", quoted(max)));
    [own, listed, min, max].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

/// Describes the bounds that JSON Schema has no keyword for.
fn range(param: &Param, bounds: &Bounds) -> Option<String> {
    if !matches!(param.value_type.scalar, ScalarType::Date | ScalarType::Timestamp) {
        return None;
    }
    match (&bounds.min, &bounds.max) {
        (Some(min), Some(max)) => Some(format!("From {} to {}", quoted(min), quoted(max))),
        (Some(min), None) => Some(format!("At least {}", quoted(min))),
        (None, Some(max)) => Some(format!("At most {}", quoted(max))),
        (None, None) => None,
    }
}

fn quoted(scalar: &Scalar) -> String {
    code(&scalar.to_string())
}

/// Formats text as inline code, whatever backquotes it contains.
fn code(text: &str) -> String {
    let longest = text.split(|each| each != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    if longest > 0 { format!("{fence} {text} {fence}") } else { format!("`{text}`") }
}

fn joined(sentences: &[String]) -> String {
    let ended = sentences.iter().map(|sentence| {
        if sentence.ends_with(['.', '!', '?', ':']) { sentence.clone() } else { format!("{sentence}.") }
    });
    ended.collect::<Vec<_>>().join(" ")
}
