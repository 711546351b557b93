//! What a caller says about the form of the answer: `format`, `select`, `order`. Not arguments of the endpoint.
//!
//! Which columns there are for this caller is found out when the call is governed; here names are only names.

use crate::error::{Code, Error};

/// The most names in `select` or `order`.
const MOST_NAMES: usize = 1_000;

/// The modifiers of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modifiers {
    format: Option<String>,
    select: Option<Vec<String>>,
    order: Vec<Order>,
}

/// One name of `order`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// The column.
    pub column: String,
    /// From the greatest to the least.
    pub descending: bool,
}

impl Modifiers {
    /// Takes a pair of the query string if it is a modifier.
    ///
    /// # Errors
    /// A modifier that came twice, or that can not be read.
    pub(super) fn take(&mut self, name: &str, text: &str) -> Result<bool, Error> {
        let came_before = match name {
            "format" => self.format.replace(text.to_owned()).is_some(),
            "select" => self.select.replace(names(name, text)?).is_some(),
            "order" => {
                let orders = names(name, text)?.iter().map(|text| order(text)).collect::<Result<Vec<_>, _>>()?;
                !std::mem::replace(&mut self.order, orders).is_empty()
            }
            _ => return Ok(false),
        };
        if came_before {
            let error = Error::new(Code::ArgumentDuplicate, format!("`{name}` came more than once")).parameter(name);
            return Err(Error::arguments(vec![error.hint("give it once")]));
        }
        Ok(true)
    }

    /// The format that was asked for by name.
    pub fn format(&self) -> Option<&str> {
        self.format.as_deref()
    }

    /// The columns that were asked for, in this order; `None` is all that there are for the caller.
    pub fn select(&self) -> Option<&[String]> {
        self.select.as_deref()
    }

    /// How the rows are to be ordered; empty is as the endpoint gives them.
    pub fn order(&self) -> &[Order] {
        &self.order
    }
}

fn names(modifier: &str, text: &str) -> Result<Vec<String>, Error> {
    let names = text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let repeated = names.iter().enumerate().any(|(at, name)| names[..at].contains(name));
    if names.len() > MOST_NAMES || names.iter().any(String::is_empty) || repeated {
        let detail = format!("`{modifier}` is not a list of different columns");
        let hint = match modifier {
            "order" => "write names between commas, such as `order=amount.desc,name`",
            _ => "write names between commas, such as `select=name,amount`",
        };
        let error = Error::new(Code::ArgumentType, detail).parameter(modifier).hint(hint);
        return Err(Error::arguments(vec![error]));
    }
    Ok(names)
}

fn order(text: &str) -> Result<Order, Error> {
    let (column, descending) = match text.strip_suffix(".desc") {
        Some(column) => (column, true),
        None => (text.strip_suffix(".asc").unwrap_or(text), false),
    };
    if column.is_empty() {
        let error = Error::new(Code::ArgumentType, "`order` names no column").parameter("order");
        return Err(Error::arguments(vec![error]));
    }
    Ok(Order { column: column.to_owned(), descending })
}
