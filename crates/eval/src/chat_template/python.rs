//! What Python and Jinja give to templates and minijinja does not: methods of strings and lists, `%`, `strftime_now`,
//! and filters. Their results are Python's, and they count their work before they do it.

use super::json;
use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// The day that `strftime_now` tells every template, at midnight.
pub const TEMPLATE_DATE: &str = "2026-01-01";

/// The deepest value that a template may keep in a variable. Printing, comparing and dropping a value costs stack for each
/// level.
const MAX_VALUE_DEPTH: usize = 100;

/// Adds everything to an environment.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.set_unknown_method_callback(method);
    environment.add_function("strftime_now", strftime_now);
    environment.add_function("cycler", |Rest(items): Rest<Value>| minijinja_contrib::globals::cycler(items));
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_filter("truncate", truncate);
    environment.add_filter("striptags", minijinja_contrib::filters::striptags);
    environment.add_filter("center", |state: &State<'_, '_>, text: String, width: Option<usize>| {
        padded(state, &text, width.unwrap_or(80), ' ', Side::Both)
    });
    environment.add_filter("wordcount", |text: String| text.split_whitespace().count());
    environment.add_filter("percent", percent);
    environment.add_filter("bounded", |state: &State<'_, '_>, value: Value| bounded(state, value, true));
    environment.add_filter("bounded_member", |state: &State<'_, '_>, value: Value| bounded(state, value, false));
    // Jinja takes for a sequence whatever has a length and can be indexed.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
    });
    environment.set_formatter(|out, state, value| match f64::try_from(value.clone()) {
        Ok(x) if value.kind() == ValueKind::Number && !value.is_integer() && x.is_finite() => {
            Ok(write!(out, "{}", json::float(x))?)
        }
        _ => minijinja::escape_formatter(out, state, value),
    });
    environment.add_test("callable", |value: &Value| {
        value.as_object().is_some_and(|object| object.type_name().contains("Macro")) || value.kind() == ValueKind::Plain
    });
}

fn wrong(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.into())
}

/// A value as it may be kept in a variable: lists that are made lazily are made, and depth and size have bounds. A member of
/// a namespace must not contain a namespace, because it could then contain itself.
fn bounded(state: &State<'_, '_>, value: Value, may_have_namespaces: bool) -> Result<Value, Error> {
    let value = if value.kind() == ValueKind::Iterable {
        let mut items = Vec::new();
        for item in value.try_iter()?.checked() {
            state.consume_fuel(1)?;
            items.push(item?);
        }
        Value::from(items)
    } else {
        value
    };
    let mut open = vec![(value.clone(), 1)];
    while let Some((value, depth)) = open.pop() {
        state.consume_fuel(1)?;
        if depth > MAX_VALUE_DEPTH {
            return Err(wrong(format!("a value that nests more than {MAX_VALUE_DEPTH} deep")));
        }
        let is_namespace = value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"));
        if is_namespace && !may_have_namespaces {
            return Err(wrong("a namespace inside a namespace"));
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                for item in value.try_iter()?.checked() {
                    state.consume_fuel(1)?;
                    open.push((item?, depth + 1));
                }
            }
            ValueKind::Map => {
                for key in value.try_iter()?.checked() {
                    state.consume_fuel(1)?;
                    open.push((value.get_item(&key?)?, depth + 1));
                }
            }
            _ => {}
        }
    }
    Ok(value)
}

/// `left % right`: a formatted string, or the remainder, which has the sign of `right`.
fn percent(state: &mut State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    if left.kind() == ValueKind::String {
        let mut arguments = vec![left.clone()];
        if right.is_tuple() {
            arguments.extend(right.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?);
        } else {
            arguments.push(right.clone());
        }
        return state.apply_filter("format", &arguments);
    }
    let is_number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !is_number(left) || !is_number(right) {
        return Err(wrong(format!("% on {} and {}", left.kind(), right.kind())));
    }
    let integer = |value: &Value| match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        _ if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    };
    if let (Some(a), Some(b)) = (integer(left), integer(right)) {
        let rest = a.checked_rem(b).ok_or_else(|| wrong("division by zero"))?;
        return Ok(Value::from(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }));
    }
    let float = |value: &Value| match value.kind() {
        ValueKind::Bool => Ok(f64::from(u8::from(value.is_true()))),
        _ => f64::try_from(value.clone()),
    };
    let (a, b) = (float(left)?, float(right)?);
    if b == 0.0 {
        return Err(wrong("division by zero"));
    }
    let rest = a % b;
    Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }))
}

/// [`TEMPLATE_DATE`] in a format of C's `strftime`, in the C locale.
fn strftime_now(format: &str) -> String {
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let code = rest.clone().next();
        let is_short = code == Some('-');
        if is_short {
            rest.next();
        }
        let Some(code) = rest.next() else {
            out.push_str(if is_short { "%-" } else { "%" });
            break;
        };
        let known = match code {
            'Y' | 'G' => "2026",
            'C' => "20",
            'y' | 'g' => "26",
            'm' | 'd' | 'V' => "01",
            'B' => "January",
            'b' | 'h' => "Jan",
            'A' => "Thursday",
            'a' => "Thu",
            'j' => "001",
            'e' if is_short => "1",
            'e' => " 1",
            'u' | 'w' => "4",
            'U' | 'W' | 'H' | 'M' | 'S' => "00",
            'I' => "12",
            'k' if is_short => "0",
            'k' => " 0",
            'l' => "12",
            'p' => "AM",
            'P' => "am",
            'f' => "000000",
            'F' => TEMPLATE_DATE,
            'D' | 'x' => "01/01/26",
            'T' | 'X' => "00:00:00",
            'R' => "00:00",
            'r' => "12:00:00 AM",
            'c' => "Thu Jan  1 00:00:00 2026",
            'Z' | 'z' => "",
            's' => "1767225600",
            'n' => "\n",
            't' => "\t",
            '%' => "%",
            other => {
                out.push('%');
                out.extend(is_short.then_some('-'));
                out.push(other);
                continue;
            }
        };
        let has_zeros = matches!(code, 'm' | 'd' | 'V' | 'j' | 'U' | 'W' | 'H' | 'M' | 'S');
        out.push_str(match known.trim_start_matches('0') {
            _ if !(is_short && has_zeros) => known,
            "" => "0",
            number => number,
        });
    }
    out
}

/// A method of a value that minijinja does not know.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(text)) => match string_method(state, text, name, arguments)? {
            Some(result) => Ok(result),
            None => pycompat::unknown_method_callback(state, value, name, arguments),
        },
        (ValueKind::Seq, _) if name == "index" => {
            let (wanted,): (&Value,) = from_args(arguments)?;
            let items = value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
            let found = items.iter().position(|item| item == wanted);
            found.map(Value::from).ok_or_else(|| wrong(format!("{wanted} is not in the list")))
        }
        (ValueKind::Seq | ValueKind::Map, _) if name == "copy" => {
            let () = from_args(arguments)?;
            Ok(value.clone())
        }
        _ => pycompat::unknown_method_callback(state, value, name, arguments),
    }
}

/// A method of Python's strings; `None` for one that is not here.
fn string_method(state: &State<'_, '_>, text: &str, name: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    let place = |bytes: Option<usize>| bytes.map(|bytes| text[..bytes].chars().count());
    let not_found = || wrong("substring not found");
    Ok(Some(match name {
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            if separator.is_empty() {
                return Err(wrong("empty separator"));
            }
            let is_first = name == "partition";
            let found = if is_first { text.split_once(separator) } else { text.rsplit_once(separator) };
            let parts = match found {
                Some((before, after)) => [before, separator, after],
                None if is_first => [text, "", ""],
                None => ["", "", text],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "split" | "rsplit" => split(state, text, name == "rsplit", arguments)?,
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "index" => {
            let (wanted,): (&str,) = from_args(arguments)?;
            Value::from(place(text.find(wanted)).ok_or_else(not_found)?)
        }
        "rindex" => {
            let (wanted,): (&str,) = from_args(arguments)?;
            Value::from(place(text.rfind(wanted)).ok_or_else(not_found)?)
        }
        "ljust" | "rjust" | "center" => {
            let (width, fill): (i64, Option<&str>) = from_args(arguments)?;
            let mut fill = fill.unwrap_or(" ").chars();
            let (Some(fill), None) = (fill.next(), fill.next()) else {
                return Err(wrong("the fill character must be exactly one character long"));
            };
            let side = match name {
                "ljust" => Side::Right,
                "rjust" => Side::Left,
                _ => Side::Both,
            };
            Value::from(padded(state, text, usize::try_from(width).unwrap_or(0), fill, side)?)
        }
        "zfill" => {
            let (width,): (i64,) = from_args(arguments)?;
            let width = usize::try_from(width).unwrap_or(0);
            let sign_len = usize::from(text.starts_with(['-', '+']));
            let (sign, digits) = text.split_at(sign_len);
            Value::from(format!("{sign}{}", padded(state, digits, width.saturating_sub(sign_len), '0', Side::Left)?))
        }
        "swapcase" => {
            let () = from_args(arguments)?;
            let swapped = |c: char| -> String {
                if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
            };
            Value::from(text.chars().map(swapped).collect::<String>())
        }
        "casefold" => {
            let () = from_args(arguments)?;
            Value::from(text.to_lowercase().replace('ß', "ss"))
        }
        "isdecimal" => {
            let () = from_args(arguments)?;
            Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit()))
        }
        "format" => {
            // The width of a field is a number in the text.
            let widths = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
            let width = widths.map(|digits| digits.parse().unwrap_or(u64::MAX)).fold(0, u64::saturating_add);
            state.consume_fuel(width / 64)?;
            return Ok(None);
        }
        _ => return Ok(None),
    }))
}

/// `str.split` and `str.rsplit`.
fn split(state: &State<'_, '_>, text: &str, from_the_end: bool, arguments: &[Value]) -> Result<Value, Error> {
    let (given, named): (&[Value], Kwargs) = from_args(arguments)?;
    let argument = |index: usize, name| match given.get(index) {
        Some(value) => Ok(Some(value.clone())),
        None => named.get::<Option<Value>>(name),
    };
    let separator = argument(0, "sep")?.filter(|separator| !separator.is_none());
    let most = match argument(1, "maxsplit")? {
        Some(most) => usize::try_from(i64::try_from(most)?).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    named.assert_all_used()?;
    state.consume_fuel(text.len() as u64 / 16)?;
    let n = most.saturating_add(1);
    let mut parts: Vec<&str> = match &separator {
        Some(separator) => {
            let separator = separator.as_str().ok_or_else(|| wrong("the separator must be a string"))?;
            if separator.is_empty() {
                return Err(wrong("empty separator"));
            }
            if from_the_end { text.rsplitn(n, separator).collect() } else { text.splitn(n, separator).collect() }
        }
        None => words(text, most, from_the_end),
    };
    if from_the_end {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

/// The words of a text, cut at white space at most `most` times, the last first where `from_the_end`.
fn words(text: &str, most: usize, from_the_end: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let cut = if from_the_end { rest.rfind(char::is_whitespace) } else { rest.find(char::is_whitespace) };
        match cut {
            Some(cut) if parts.len() < most => {
                let (left, right) = (rest[..cut].trim_end(), rest[cut..].trim_start());
                parts.push(if from_the_end { right } else { left });
                rest = if from_the_end { left } else { right };
            }
            _ => {
                parts.push(rest);
                break;
            }
        }
    }
    parts
}

/// Jinja's `truncate`, with its default leeway of five characters.
fn truncate(text: &str, Rest(given): Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let argument = |index: usize, name| match given.get(index) {
        Some(value) => Ok(Some(value.clone())),
        None => named.get::<Option<Value>>(name),
    };
    let size = |value: Option<Value>, default| value.map_or(Ok(default), usize::try_from);
    let length = size(argument(0, "length")?, 255)?;
    let kills_words = argument(1, "killwords")?.is_some_and(|value| value.is_true());
    let end = argument(2, "end")?.map_or_else(|| "...".to_owned(), |end| end.to_string());
    let leeway = size(argument(3, "leeway")?.filter(|leeway| !leeway.is_none()), 5)?;
    named.assert_all_used()?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text.to_owned());
    }
    let kept: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    let kept = if kills_words { &kept[..] } else { kept.rsplit_once(' ').map_or(&kept[..], |(words, _)| words) };
    Ok(format!("{kept}{end}"))
}

/// Where a text is padded.
enum Side {
    Left,
    Right,
    Both,
}

fn padded(state: &State<'_, '_>, text: &str, width: usize, fill: char, side: Side) -> Result<String, Error> {
    let missing = width.saturating_sub(text.chars().count());
    state.consume_fuel(missing as u64 / 16)?;
    let left = match side {
        Side::Left => missing,
        Side::Right => 0,
        // CPython's choice for an odd number.
        Side::Both => missing / 2 + (missing & width & 1),
    };
    let fill = |n: usize| std::iter::repeat_n(fill, n).collect::<String>();
    Ok(format!("{}{text}{}", fill(left), fill(missing - left)))
}

#[cfg(test)]
mod tests {
    use super::{strftime_now, words};

    #[test]
    fn the_date_is_told_in_every_format_that_templates_use() {
        let cases = [
            ("%Y-%m-%d", "2026-01-01"),
            ("%d %b %Y", "01 Jan 2026"),
            ("%B %d, %Y", "January 01, 2026"),
            ("%A, %-d. %-m. %y, day %-j, %-H h", "Thursday, 1. 1. 26, day 1, 0 h"),
            ("%H:%M:%S %I %p 100%% %Q %", "00:00:00 12 AM 100% %Q %"),
        ];
        for (format, wanted) in cases {
            assert_eq!(strftime_now(format), wanted);
        }
    }

    #[test]
    fn words_are_cut_from_either_end() {
        assert_eq!(words("  a b  c ", usize::MAX, false), ["a", "b", "c"]);
        assert_eq!(words("  a b  c ", 1, false), ["a", "b  c"]);
        assert_eq!(words("  a b  c ", 1, true), ["c", "a b"]);
        assert!(words("  ", 3, true).is_empty());
    }
}
