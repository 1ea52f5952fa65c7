//! The LaTeX of claims as MathML, so that a browser shows formulas without scripts or fonts from elsewhere.
//!
//! It knows what statements use: letters, scripts, fractions, roots, accents, alphabets, sums, relations and text.

use super::symbols;

/// A part of the source that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not understood")]
pub struct MathError(String);

/// A displayed formula.
pub fn display(latex: &str) -> Result<String, MathError> {
    let mut parser = Parser { tokens: tokens(latex), at: 0 };
    let row = parser.row(None)?;
    Ok(format!("<math display=\"block\"><mrow>{row}</mrow></math>"))
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Command(String),
    Char(char),
    Space,
}

fn tokens(latex: &str) -> Vec<Token> {
    let chars: Vec<char> = latex.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let length = match chars[at] {
            '\\' => {
                let letters = chars[at + 1..].iter().take_while(|c| c.is_ascii_alphabetic()).count();
                let length = (1 + letters.max(1)).min(chars.len() - at);
                tokens.push(Token::Command(chars[at..at + length].iter().collect()));
                length
            }
            c if c.is_whitespace() => {
                tokens.push(Token::Space);
                1
            }
            c => {
                tokens.push(Token::Char(c));
                1
            }
        };
        at += length;
    }
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn skip_spaces(&mut self) {
        while self.tokens.get(self.at) == Some(&Token::Space) {
            self.at += 1;
        }
    }

    /// Elements up to `end`, which is consumed, or up to the end of the source.
    fn row(&mut self, end: Option<char>) -> Result<String, MathError> {
        let mut row = String::new();
        loop {
            self.skip_spaces();
            match self.tokens.get(self.at) {
                None if end.is_none() => return Ok(row),
                None => return Err(MathError("a group without its end".into())),
                Some(Token::Char(c)) if Some(*c) == end => {
                    self.at += 1;
                    return Ok(row);
                }
                Some(_) => row += &self.scripted()?,
            }
        }
    }

    /// An element with its scripts.
    fn scripted(&mut self) -> Result<String, MathError> {
        let large = matches!(self.tokens.get(self.at), Some(Token::Command(c)) if matches!(c.as_str(), "\\sum" | "\\prod" | "\\min" | "\\max"));
        let base = self.element()?;
        let (mut sub, mut sup) = (None, None);
        loop {
            self.skip_spaces();
            let script = match self.tokens.get(self.at) {
                Some(Token::Char('_')) => &mut sub,
                Some(Token::Char('^')) => &mut sup,
                Some(Token::Char('\'')) => {
                    self.at += 1;
                    sup = Some("<mo>′</mo>".to_owned());
                    continue;
                }
                _ => break,
            };
            if script.is_some() {
                return Err(MathError("a double script".into()));
            }
            self.at += 1;
            let content = self.element()?;
            *script = Some(content);
        }
        Ok(match (sub, sup, large) {
            (None, None, _) => base,
            (Some(sub), None, true) => format!("<munder>{base}{sub}</munder>"),
            (Some(sub), Some(sup), true) => format!("<munderover>{base}{sub}{sup}</munderover>"),
            (Some(sub), None, false) => format!("<msub>{base}{sub}</msub>"),
            (None, Some(sup), _) => format!("<msup>{base}{sup}</msup>"),
            (Some(sub), Some(sup), false) => format!("<msubsup>{base}{sub}{sup}</msubsup>"),
        })
    }

    /// One element: a character, a command with its arguments, or a group.
    fn element(&mut self) -> Result<String, MathError> {
        self.skip_spaces();
        match self.next() {
            None => Err(MathError("an argument is missing".into())),
            Some(Token::Space) => Ok(String::new()),
            Some(Token::Char('{')) => Ok(format!("<mrow>{}</mrow>", self.row(Some('}'))?)),
            Some(Token::Char(c @ ('}' | '_' | '^' | '&' | '$' | '#' | '%'))) => Err(MathError(c.to_string())),
            Some(Token::Char(c)) if c.is_ascii_digit() => {
                let mut number = c.to_string();
                while let Some(Token::Char(c)) =
                    self.tokens.get(self.at).filter(|t| matches!(t, Token::Char(c) if c.is_ascii_digit() || *c == '.'))
                {
                    number.push(*c);
                    self.at += 1;
                }
                Ok(format!("<mn>{number}</mn>"))
            }
            Some(Token::Char(c)) => Ok(character(c)),
            Some(Token::Command(command)) => self.command(&command),
        }
    }

    fn command(&mut self, command: &str) -> Result<String, MathError> {
        Ok(match command {
            "\\frac" | "\\tfrac" | "\\dfrac" => format!("<mfrac>{}{}</mfrac>", self.argument()?, self.argument()?),
            "\\binom" => {
                let (n, k) = (self.argument()?, self.argument()?);
                format!("<mrow><mo>(</mo><mfrac linethickness=\"0\">{n}{k}</mfrac><mo>)</mo></mrow>")
            }
            "\\sqrt" => format!("<msqrt>{}</msqrt>", self.argument()?),
            "\\tilde" | "\\widetilde" => format!("<mover accent=\"true\">{}<mo>~</mo></mover>", self.argument()?),
            "\\hat" | "\\widehat" => format!("<mover accent=\"true\">{}<mo>^</mo></mover>", self.argument()?),
            "\\bar" | "\\overline" => format!("<mover accent=\"true\">{}<mo>¯</mo></mover>", self.argument()?),
            "\\mathcal" => self.alphabet(script_letter)?,
            "\\mathbb" => self.alphabet(double_struck_letter)?,
            "\\mathbf" | "\\boldsymbol" => format!("<mrow style=\"font-weight:bold\">{}</mrow>", self.argument()?),
            "\\mathrm" | "\\operatorname" | "\\mathsf" => format!("<mi mathvariant=\"normal\">{}</mi>", self.text()?),
            "\\text" | "\\textrm" | "\\textit" => format!("<mtext>{}</mtext>", self.text()?),
            "\\Pr" | "\\min" | "\\max" | "\\log" | "\\exp" | "\\dim" | "\\ker" | "\\det" | "\\arg" | "\\sup"
            | "\\inf" => {
                format!("<mi mathvariant=\"normal\">{}</mi>", &command[1..])
            }
            "\\begin" => self.matrix()?,
            // Brackets keep their size: in statements nothing is tall.
            "\\left" | "\\right" | "\\bigl" | "\\bigr" | "\\big" | "\\Bigl" | "\\Bigr" => {
                match self.tokens.get(self.at) {
                    Some(Token::Char('.')) => {
                        self.at += 1;
                        String::new()
                    }
                    _ => self.element()?,
                }
            }
            "\\," | "\\:" | "\\;" | "\\ " => "<mspace width=\"0.2em\"></mspace>".into(),
            "\\quad" => "<mspace width=\"1em\"></mspace>".into(),
            "\\qquad" => "<mspace width=\"2em\"></mspace>".into(),
            "\\!" | "\\displaystyle" | "\\limits" => String::new(),
            "\\{" | "\\}" | "\\%" | "\\_" | "\\#" | "\\&" => character(command.chars().nth(1).unwrap_or(' ')),
            "\\colon" => character(':'),
            _ => symbols::character(command).map(character).ok_or_else(|| MathError(command.to_owned()))?,
        })
    }

    /// The rest of an environment of rows and columns.
    fn matrix(&mut self) -> Result<String, MathError> {
        let name = self.text()?;
        let (left, right) = match name.as_str() {
            "pmatrix" => ("<mo>(</mo>", "<mo>)</mo>"),
            "bmatrix" => ("<mo>[</mo>", "<mo>]</mo>"),
            "cases" => ("<mo>{</mo>", ""),
            "matrix" | "aligned" => ("", ""),
            _ => return Err(MathError(name)),
        };
        let mut rows = vec![vec![String::new()]];
        loop {
            self.skip_spaces();
            match self.tokens.get(self.at) {
                None => return Err(MathError("an environment without its end".into())),
                Some(Token::Char('&')) => {
                    self.at += 1;
                    rows.last_mut().into_iter().for_each(|row| row.push(String::new()));
                }
                Some(Token::Command(command)) if command == "\\\\" => {
                    self.at += 1;
                    rows.push(vec![String::new()]);
                }
                Some(Token::Command(command)) if command == "\\end" => {
                    self.at += 1;
                    if self.text()? != name {
                        return Err(MathError(name));
                    }
                    break;
                }
                Some(_) => {
                    let element = self.scripted()?;
                    rows.last_mut().and_then(|row| row.last_mut()).into_iter().for_each(|cell| *cell += &element);
                }
            }
        }
        let cells = |row: &Vec<String>| row.iter().map(|cell| format!("<mtd>{cell}</mtd>")).collect::<String>();
        let rows: String = rows.iter().map(|row| format!("<mtr>{}</mtr>", cells(row))).collect();
        Ok(format!("<mrow>{left}<mtable>{rows}</mtable>{right}</mrow>"))
    }

    fn argument(&mut self) -> Result<String, MathError> {
        self.element()
    }

    /// A letter of another alphabet; the argument is one letter, with or without braces.
    fn alphabet(&mut self, letter: fn(char) -> Option<char>) -> Result<String, MathError> {
        let name = self.text()?;
        let mut chars = name.chars();
        match (chars.next().and_then(letter), chars.next()) {
            (Some(c), None) => Ok(format!("<mi>{c}</mi>")),
            _ => Err(MathError(name)),
        }
    }

    /// A braced argument as text, or a single character.
    fn text(&mut self) -> Result<String, MathError> {
        self.skip_spaces();
        match self.next() {
            Some(Token::Char('{')) => {}
            Some(Token::Char(c)) => return Ok(escaped(c)),
            _ => return Err(MathError("an argument is missing".into())),
        }
        let mut text = String::new();
        let mut depth = 1;
        loop {
            match self.next() {
                None => return Err(MathError("a group without its end".into())),
                Some(Token::Char('{')) => depth += 1,
                Some(Token::Char('}')) => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(text);
                    }
                }
                // Inside \text a formula may stand between dollars; its letters are shown upright.
                Some(Token::Char('$')) => {}
                Some(Token::Char(c)) => text += &escaped(c),
                Some(Token::Space) => text.push('\u{a0}'),
                Some(Token::Command(command)) => match symbols::character(&command) {
                    Some(c) => text += &escaped(c),
                    None if matches!(command.as_str(), "\\," | "\\ ") => text.push('\u{a0}'),
                    None => return Err(MathError(command)),
                },
            }
        }
    }
}

fn escaped(c: char) -> String {
    match c {
        '<' => "&lt;".into(),
        '>' => "&gt;".into(),
        '&' => "&amp;".into(),
        c => c.to_string(),
    }
}

fn character(c: char) -> String {
    match c {
        '-' => "<mo>−</mo>".into(),
        '(' | ')' | '[' | ']' | '{' | '}' | '|' | '‖' | '⟨' | '⟩' | '⌊' | '⌋' | '⌈' | '⌉' => {
            format!("<mo stretchy=\"false\">{c}</mo>")
        }
        c if c.is_alphabetic() || matches!(c, '∞' | '∅' | '⊤' | '…' | '⋯') => format!("<mi>{c}</mi>"),
        c => format!("<mo>{}</mo>", escaped(c)),
    }
}

fn offset(c: char, upper: u32, lower: u32) -> Option<char> {
    match c {
        'A'..='Z' => char::from_u32(upper + (c as u32 - 'A' as u32)),
        'a'..='z' => char::from_u32(lower + (c as u32 - 'a' as u32)),
        _ => None,
    }
}

fn script_letter(c: char) -> Option<char> {
    // Unicode keeps these script capitals where they stood before the mathematical alphabets.
    const EARLIER: &[(char, char)] =
        &[('B', 'ℬ'), ('E', 'ℰ'), ('F', 'ℱ'), ('H', 'ℋ'), ('I', 'ℐ'), ('L', 'ℒ'), ('M', 'ℳ'), ('R', 'ℛ')];
    EARLIER.iter().find(|(plain, _)| *plain == c).map(|(_, script)| *script).or_else(|| offset(c, 0x1d49c, 0x1d4b6))
}

fn double_struck_letter(c: char) -> Option<char> {
    const EARLIER: &[(char, char)] =
        &[('C', 'ℂ'), ('H', 'ℍ'), ('N', 'ℕ'), ('P', 'ℙ'), ('Q', 'ℚ'), ('R', 'ℝ'), ('Z', 'ℤ')];
    EARLIER.iter().find(|(plain, _)| *plain == c).map(|(_, double)| *double).or_else(|| offset(c, 0x1d538, 0x1d552))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_becomes_mathml() {
        assert_eq!(
            display(r"\tilde{\mathcal L}=\sum_{d} M_d\|r_d\|^2").unwrap(),
            "<math display=\"block\"><mrow><mover accent=\"true\"><mrow><mi>ℒ</mi></mrow><mo>~</mo></mover><mo>=</mo>\
             <munder><mo>∑</mo><mrow><mi>d</mi></mrow></munder><msub><mi>M</mi><mi>d</mi></msub><mo stretchy=\"false\">‖</mo>\
             <msub><mi>r</mi><mi>d</mi></msub><msup><mo stretchy=\"false\">‖</mo><mn>2</mn></msup></mrow></math>"
        );
        assert!(
            display(r"\begin{pmatrix}1&w_2\\0&0\end{pmatrix}").unwrap().contains(
                "<mtr><mtd><mn>1</mn></mtd><mtd><msub><mi>w</mi><mn>2</mn></msub></mtd></mtr><mtr><mtd><mn>0</mn></mtd><mtd><mn>0</mn></mtd></mtr>"
            )
        );
        assert!(display(r"\text{a < b}").unwrap().contains("<mtext>a\u{a0}&lt;\u{a0}b</mtext>"));
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_no_broken_page() {
        for latex in [
            r"\unknown",
            "{a",
            "a}",
            "x_1_2",
            r"\frac{1}",
            "&",
            r"\mathcal{LL}",
            r"\begin{pmatrix}1",
            r"\begin{x}\end{x}",
            "\\",
        ] {
            assert!(display(latex).is_err(), "{latex}");
        }
    }

    #[test]
    fn every_element_that_is_opened_is_closed() {
        let formula = display(r"\forall\,\mathcal P=(F_1,\dots,F_{n_q}):\ \exists\ (W_D^*,W_E^*)\in\mathbb R^{n}\ \text{with } \frac{\partial L}{\partial w}\le \sqrt{2}\,\lambda_{\max}").unwrap();
        let mut open = Vec::new();
        for tag in formula.split('<').skip(1).map(|t| t.split('>').next().unwrap()) {
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None => open.push(tag.split(' ').next().unwrap()),
            }
        }
        assert!(open.is_empty());
    }
}
