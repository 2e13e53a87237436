//! The text of a template before minijinja parses it: its depth is checked, and constructs of Jinja and of transformers
//! that minijinja does not have are written in those that it has.
//!
//! | construct | becomes | why |
//! |---|---|---|
//! | `{% generation %}` … `{% endgeneration %}` | `{% with %}` … `{% endwith %}` | a tag of transformers, with a scope of its own |
//! | `a % b` | `(a)\|percent(b)` | Python formats strings with `%`, and takes the sign of `b` for numbers |
//! | `{% set x = e %}` | `{% set x = (e)\|bounded %}` | values must not nest without bounds, see [`super::python`] |
//! | `{% set x.y = e %}` | `{% set x.y = (e)\|bounded_member %}` | as above, and a namespace must not contain itself |
//!
//! minijinja limits brackets and blocks itself, but not `not`, `-`, `elif` or chains of operators and filters, all of which
//! cost stack for each step.

use super::ChatTemplateError;

/// The most blocks and brackets that may be open at one place. minijinja allows 150 and counts each bracket twice.
const MAX_OPEN: usize = 64;

/// The greatest depth of the syntax tree: open blocks, branches, brackets, and the operators of the longest expression.
const MAX_DEPTH: usize = 1000;

/// The template as minijinja can run it.
///
/// # Errors
/// [`ChatTemplateError::Depth`] when the template nests too deep.
pub(super) fn prepare(template: &str) -> Result<String, ChatTemplateError> {
    let mut scan = Scan::default();
    let mut at = 0;
    while let Some(tag) = next_tag(template, at) {
        at = match tag {
            Tag::Comment { end } => end,
            Tag::Code { start, end, is_block } => {
                let (tokens, end) = tokens(template, start, end, is_block);
                scan.tag(template, &tokens, is_block);
                match tokens.first() {
                    Some(first) if is_block && first.text(template) == "raw" => end_of_raw(template, end),
                    _ => end,
                }
            }
        };
    }
    scan.check()?;
    Ok(scan.rewritten(template))
}

/// A tag of a template, by its place in bytes.
enum Tag {
    /// `{# … #}`.
    Comment { end: usize },
    /// `{{ … }}` or `{% … %}`; `start` is behind the opening, `end` is where the template ends.
    Code { start: usize, end: usize, is_block: bool },
}

fn next_tag(template: &str, from: usize) -> Option<Tag> {
    let bytes = template.as_bytes();
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == b'{')?;
        match bytes.get(at + 1)? {
            b'#' => {
                let end = template[at..].find("#}").map_or(bytes.len(), |len| at + len + 2);
                return Some(Tag::Comment { end });
            }
            kind @ (b'{' | b'%') => {
                return Some(Tag::Code { start: at + 2, end: bytes.len(), is_block: *kind == b'%' });
            }
            _ => at += 1,
        }
    }
}

/// The place behind `{% endraw %}`.
fn end_of_raw(template: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(len) = template[at..].find("{%") {
        at += len + 2;
        let inside = template[at..].trim_start_matches(['-', '+']).trim_start();
        if inside.starts_with("endraw") {
            return template[at..].find("%}").map_or(template.len(), |len| at + len + 2);
        }
    }
    template.len()
}

/// What a token is to the scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    /// A string or a number.
    Literal,
    Open,
    Close,
    Operator,
}

/// A token of a tag, by its place in bytes.
#[derive(Clone, Copy, Debug)]
struct Token {
    kind: Kind,
    start: usize,
    end: usize,
}

impl Token {
    fn text(self, template: &str) -> &str {
        &template[self.start..self.end]
    }
}

/// The tokens of a tag, and the place behind it. What is not Jinja is left for minijinja to refuse.
fn tokens(template: &str, start: usize, end: usize, is_block: bool) -> (Vec<Token>, usize) {
    let bytes = template.as_bytes();
    let close: &[u8] = if is_block { b"%}" } else { b"}}" };
    let mut tokens: Vec<Token> = Vec::new();
    let mut open = 0usize;
    let mut at = start;
    // A sign right behind the opening trims white space.
    if matches!(bytes.get(at), Some(b'-' | b'+')) {
        at += 1;
    }
    while at < end {
        let rest = &bytes[at..];
        if open == 0 {
            if rest.starts_with(close) {
                return (tokens, at + 2);
            }
            if matches!(rest[0], b'-' | b'+') && rest[1..].starts_with(close) {
                return (tokens, at + 3);
            }
        }
        let (kind, len) = match rest[0] {
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            quote @ (b'\'' | b'"') => {
                let mut len = 1;
                while len < rest.len() && rest[len] != quote {
                    len += if rest[len] == b'\\' { 2 } else { 1 };
                }
                (Kind::Literal, (len + 1).min(rest.len()))
            }
            byte if byte.is_ascii_digit() => {
                let is_number = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                let mut len = rest.iter().take_while(|&&byte| is_number(byte)).count();
                if rest.get(len) == Some(&b'.') && rest.get(len + 1).is_some_and(u8::is_ascii_digit) {
                    len += 1 + rest[len + 1..].iter().take_while(|&&byte| is_number(byte)).count();
                }
                if matches!(rest.get(len - 1), Some(b'e' | b'E')) && matches!(rest.get(len), Some(b'-' | b'+')) {
                    len += 1 + rest[len + 1..].iter().take_while(|&&byte| is_number(byte)).count();
                }
                (Kind::Literal, len)
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii() => {
                let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
                (Kind::Word, rest.iter().take_while(|&&byte| is_word(byte)).count())
            }
            b'(' | b'[' | b'{' => {
                open += 1;
                (Kind::Open, 1)
            }
            b')' | b']' | b'}' => {
                open = open.saturating_sub(1);
                (Kind::Close, 1)
            }
            _ => {
                let two = [&b"//"[..], b"**", b"==", b"!=", b"<=", b">="];
                (Kind::Operator, if two.iter().any(|two| rest.starts_with(two)) { 2 } else { 1 })
            }
        };
        tokens.push(Token { kind, start: at, end: at + len });
        at += len;
    }
    (tokens, end)
}

/// A bracket of an expression, or the expression itself.
struct Level {
    /// Where the operand of `*`, `/`, `//` and `%` begins.
    operand: usize,
    /// Whether a `%` waits for its right side to end.
    has_percent: bool,
    /// The operators since the last comma.
    operators: usize,
    /// The depth of the deepest bracket since the last comma.
    inner: usize,
    /// The depth of the deepest item so far.
    deepest: usize,
}

impl Level {
    fn new(operand: usize) -> Level {
        Level { operand, has_percent: false, operators: 0, inner: 0, deepest: 0 }
    }

    /// Ends an item of the level.
    fn end_item(&mut self) {
        self.deepest = self.deepest.max(self.operators + self.inner);
        (self.operators, self.inner) = (0, 0);
    }
}

/// What has been found in the tags so far.
#[derive(Default)]
struct Scan {
    /// The open blocks, each with the number of its branches.
    blocks: Vec<usize>,
    /// The sum of the branches of all open blocks.
    branches: usize,
    deepest: usize,
    most_open: usize,
    /// Replacements: first byte, last byte and text, in the order of the template.
    edits: Vec<(usize, usize, &'static str)>,
}

impl Scan {
    fn check(&self) -> Result<(), ChatTemplateError> {
        let of = |what, found, allowed| if found > allowed { Err((what, found, allowed)) } else { Ok(()) };
        let depth = of("blocks, branches, brackets and operators inside one another", self.deepest, MAX_DEPTH);
        depth
            .and_then(|()| of("blocks and brackets inside one another", self.most_open, MAX_OPEN))
            .map_err(|(what, found, allowed)| ChatTemplateError::Depth { what, found, allowed })
    }

    fn edit(&mut self, start: usize, end: usize, text: &'static str) {
        self.edits.push((start, end, text));
    }

    fn tag(&mut self, template: &str, tokens: &[Token], is_block: bool) {
        let mut tokens = tokens;
        let name = match tokens.first() {
            Some(first) if is_block && first.kind == Kind::Word => {
                tokens = &tokens[1..];
                self.block(template, *first, tokens);
                first.text(template)
            }
            _ => "",
        };
        let assigned = if name == "set" { assignment(template, tokens) } else { None };
        let value = assigned.and_then(|at| Some((at, tokens.get(at + 1..)?.last()?)));
        if let Some((at, _)) = value {
            self.edit(tokens[at].end, tokens[at].end, "(");
        }
        self.expression(template, tokens);
        if let Some((at, last)) = value {
            let is_member = tokens[..at].iter().any(|token| token.text(template) == ".");
            self.edit(last.end, last.end, if is_member { ")|bounded_member" } else { ")|bounded" });
        }
    }

    /// Opens or closes a block, or begins another branch of it.
    fn block(&mut self, template: &str, name: Token, rest: &[Token]) {
        match name.text(template) {
            "generation" => {
                self.edit(name.start, name.end, "with");
                self.open();
            }
            "for" | "if" | "macro" | "call" | "filter" | "with" | "block" | "autoescape" => self.open(),
            "set" if assignment(template, rest).is_none() => self.open(),
            "elif" => {
                if let Some(branches) = self.blocks.last_mut() {
                    *branches += 1;
                    self.branches += 1;
                }
            }
            word if word.starts_with("end") => {
                if word == "endgeneration" {
                    self.edit(name.start, name.end, "endwith");
                }
                self.branches -= self.blocks.pop().unwrap_or(0);
            }
            _ => {}
        }
    }

    fn open(&mut self) {
        self.blocks.push(1);
        self.branches += 1;
    }

    fn expression(&mut self, template: &str, tokens: &[Token]) {
        let Some(first) = tokens.first() else {
            self.deepest = self.deepest.max(self.branches);
            self.most_open = self.most_open.max(self.blocks.len());
            return;
        };
        let mut levels = vec![Level::new(first.start)];
        // Whether the next token begins an operand, and what is before it.
        let mut begins = true;
        let mut before = "";
        for (index, token) in tokens.iter().enumerate() {
            let text = token.text(template);
            let next = tokens.get(index + 1).map_or(token.end, |next| next.start);
            let depth = levels.len();
            let Some(level) = levels.last_mut() else { return };
            match token.kind {
                Kind::Literal => begins = false,
                Kind::Open => {
                    level.operators += usize::from(!begins);
                    levels.push(Level::new(next));
                    self.most_open = self.most_open.max(self.blocks.len() + depth);
                    begins = true;
                }
                Kind::Close => {
                    self.end_percent(&mut levels, index, tokens);
                    if let [.., outer, inner] = &mut levels[..] {
                        inner.end_item();
                        outer.inner = outer.inner.max(inner.deepest + 1);
                        levels.pop();
                    }
                    begins = false;
                }
                Kind::Word => {
                    let is_operator = matches!(text, "and" | "or" | "in" | "if" | "else" | "not" | "is");
                    if !is_operator || before == "." || before == "|" {
                        begins = false;
                    } else {
                        level.operators += 1;
                        // `is` and `is not` are part of the operand before them.
                        if text != "is" && before != "is" {
                            self.end_percent(&mut levels, index, tokens);
                            if let Some(level) = levels.last_mut() {
                                level.operand = next;
                            }
                            begins = true;
                        }
                    }
                }
                Kind::Operator => {
                    level.operators += 1;
                    match text {
                        "." | "|" => {}
                        "**" => begins = true,
                        "-" | "+" if begins => {}
                        "*" | "/" | "//" | "%" => {
                            self.end_percent(&mut levels, index, tokens);
                            if text == "%"
                                && let Some(level) = levels.last_mut()
                            {
                                level.has_percent = true;
                                self.edits.push((level.operand, level.operand, "("));
                                self.edits.push((token.start, token.end, ")|percent("));
                            }
                            begins = true;
                        }
                        _ => {
                            self.end_percent(&mut levels, index, tokens);
                            if let Some(level) = levels.last_mut() {
                                level.operand = next;
                                if text == "," {
                                    level.end_item();
                                }
                            }
                            begins = true;
                        }
                    }
                }
            }
            before = text;
        }
        while levels.len() > 1 {
            if let [.., outer, inner] = &mut levels[..] {
                inner.end_item();
                outer.inner = outer.inner.max(inner.deepest + 1);
            }
            levels.pop();
        }
        self.end_percent(&mut levels, tokens.len(), tokens);
        let mut depth = 0;
        if let Some(level) = levels.last_mut() {
            level.end_item();
            depth = level.deepest;
        }
        self.deepest = self.deepest.max(self.branches + depth);
        self.most_open = self.most_open.max(self.blocks.len());
    }

    /// Ends the right side of a `%` before the token at `index`.
    fn end_percent(&mut self, levels: &mut [Level], index: usize, tokens: &[Token]) {
        if let (Some(level), Some(last)) = (levels.last_mut(), index.checked_sub(1).map(|index| &tokens[index]))
            && std::mem::take(&mut level.has_percent)
        {
            self.edits.push((last.end, last.end, ")"));
        }
    }

    /// The template with all replacements made.
    fn rewritten(mut self, template: &str) -> String {
        // Replacements at one place stay in their order, which for brackets that open there does not matter.
        self.edits.sort_by_key(|&(start, ..)| start);
        let mut out = String::with_capacity(template.len() + 16 * self.edits.len());
        let mut at = 0;
        for (start, end, text) in self.edits {
            out.push_str(&template[at..start]);
            out.push_str(text);
            at = end;
        }
        out.push_str(&template[at..]);
        out
    }
}

/// The index of the `=` of `{% set … = … %}`; `None` for a block.
fn assignment(template: &str, tokens: &[Token]) -> Option<usize> {
    let mut open = 0usize;
    tokens.iter().position(|token| {
        match token.kind {
            Kind::Open => open += 1,
            Kind::Close => open = open.saturating_sub(1),
            _ => {}
        }
        open == 0 && token.text(template) == "="
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructs_that_minijinja_lacks_are_rewritten_and_nothing_else_is() {
        for (template, wanted) in [
            ("a {% generation %}b{%- endgeneration -%} c", "a {% with %}b{%- endwith -%} c"),
            ("{{ 'a%' % b }}", "{{ ('a%' )|percent( b) }}"),
            ("{{ x + 2 * y % -z.a[1] | f(1) + w }}", "{{ x + (2 * y )|percent( -z.a[1] | f(1)) + w }}"),
            ("{{ a % b % c * d }}", "{{ ((a )|percent( b) )|percent( c) * d }}"),
            ("{{ f(a % b, c=d % e) }}", "{{ f((a )|percent( b), c=(d )|percent( e)) }}"),
            (
                "{% if i % 2 == 0 and not j % 2 %}x{% endif %}",
                "{% if (i )|percent( 2) == 0 and not (j )|percent( 2) %}x{% endif %}",
            ),
            (
                "{% if a not in b % c %}{% elif a is not none %}{% endif %}",
                "{% if a not in (b )|percent( c) %}{% elif a is not none %}{% endif %}",
            ),
            ("{{ a % (b % c) }}", "{{ (a )|percent( ((b )|percent( c))) }}"),
            ("{%- set x = a % b -%}", "{%- set x =( (a )|percent( b))|bounded -%}"),
            ("{% set x.y = a, b %}", "{% set x.y =( a, b)|bounded_member %}"),
            ("{% set x %}a % b{% endset %}", "{% set x %}a % b{% endset %}"),
            (
                "{# {{ a % b }} #}{% raw %}{{ a % b }}{% endraw %} % {",
                "{# {{ a % b }} #}{% raw %}{{ a % b }}{% endraw %} % {",
            ),
            ("{{ {'a': {'b': '}} %'}} }} % {{ a %", "{{ {'a': {'b': '}} %'}} }} % {{ (a )|percent()"),
            ("{{ '<｜é｜>' + \"\\\"%\" }}", "{{ '<｜é｜>' + \"\\\"%\" }}"),
        ] {
            assert_eq!(prepare(template).expect("shallow"), wanted);
        }
    }

    #[test]
    fn every_way_to_nest_has_a_limit_that_is_found_before_parsing() {
        let n = 200_000;
        let between = |open: &str, close: &str| format!("{{{{ {}1{} }}}}", open.repeat(n), close.repeat(n));
        let deep = [
            between("not ", ""),
            between("-", ""),
            between("(", ")"),
            between("[", "]"),
            between("{'a': ", "}"),
            between("f(", ")"),
            between("a[", "]"),
            between("1 if a else ", ""),
            between("", "|upper"),
            between("", ".a"),
            between("", "[0]"),
            between("", " + 1"),
            between("", " % 1"),
            between("", " is defined"),
            format!("{}{}", "{% if a %}".repeat(n), "{% endif %}".repeat(n)),
            format!("{}{}", "{% for a in b %}".repeat(n), "{% endfor %}".repeat(n)),
            format!("{}{}", "{% generation %}".repeat(n), "{% endgeneration %}".repeat(n)),
            format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(n)),
            format!("{{% set x{} = 1 %}}", ".a".repeat(n)),
        ];
        for template in deep {
            let error = prepare(&template).expect_err(&template[..40]);
            let ChatTemplateError::Depth { found, allowed, .. } = error else { panic!("{error}") };
            assert!(found >= n && allowed <= MAX_DEPTH, "{found}, {allowed}: {}", &template[..40]);
        }
        // Things beside one another are not deep.
        let flat =
            ["{{ not a }}", "{% if a %}{% elif b %}{% endif %}", "{{ (a + [1, 2])|f }}", "{{ {'a': (1), 'b': -1} }}"];
        assert!(flat.iter().all(|template| prepare(&template.repeat(n / 10)).is_ok()));
        assert!(prepare(&format!("{{{{ [{}] }}}}", "not a, ".repeat(n))).is_ok());
    }
}
