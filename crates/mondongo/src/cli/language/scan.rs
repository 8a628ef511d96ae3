//! The characters of one line, read from left to right.

use super::{Literal, Operator, SyntaxError};

/// How the message on a quote or bracket ends that is open at the end.
pub(super) const NOT_CLOSED: &str = "is not closed";

/// A place in a line. Positions are counted in characters.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    characters: Vec<char>,
    position: usize,
}

/// A stretch of a line between blanks.
pub(super) struct Word {
    pub(super) text: String,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Scanner {
    pub(super) fn new(line: &str) -> Scanner {
        Scanner { characters: line.chars().collect(), position: 0 }
    }

    /// The same place of the same line, which now ends at `end`.
    pub(super) fn until(&self, end: usize) -> Scanner {
        Scanner { characters: self.characters[..end].to_vec(), position: self.position }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn jump(&mut self, position: usize) {
        self.position = position;
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.characters.get(self.position).copied()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.position += 1;
        Some(next)
    }

    pub(super) fn rest(&self) -> String {
        self.characters[self.position..].iter().collect()
    }

    pub(super) fn skip_rest(&mut self) {
        self.position = self.characters.len();
    }

    pub(super) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.position += 1;
        }
    }

    /// An error at this place.
    pub(super) fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError { position: self.position, message: message.into() }
    }

    /// What stands before the next blank.
    pub(super) fn bare_word(&mut self) -> String {
        self.take_while(|character| !character.is_whitespace())
    }

    /// A word that may be quoted, or a JSON list or object.
    pub(super) fn word(&mut self) -> Result<Literal, SyntaxError> {
        self.literal(char::is_whitespace)
    }

    /// The value of an assignment or a condition: as a word, but a comma ends it too.
    pub(super) fn value(&mut self) -> Result<Literal, SyntaxError> {
        self.literal(|character| character.is_whitespace() || character == ',')
    }

    /// The name of a field: up to an operator, or quoted.
    pub(super) fn field(&mut self) -> Result<String, SyntaxError> {
        let name = match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
            _ => self.take_while(|character| {
                !character.is_whitespace() && !is_operator(character) && character != ','
            }),
        };
        if name.is_empty() {
            return Err(self.error("a field's name is missing"));
        }
        Ok(name)
    }

    /// An operator. Blanks may stand before it; if they do, they may stand behind it too.
    pub(super) fn operator(&mut self) -> Result<Operator, SyntaxError> {
        let name_end = self.position;
        self.skip_blanks();
        let spaced = self.position > name_end;
        let operator = match (self.peek(), self.characters.get(self.position + 1)) {
            (Some('!'), Some('=')) => Operator::NotEqual,
            (Some('>'), Some('=')) => Operator::GreaterOrEqual,
            (Some('<'), Some('=')) => Operator::LessOrEqual,
            (Some('='), _) => Operator::Equal,
            (Some('>'), _) => Operator::Greater,
            (Some('<'), _) => Operator::Less,
            _ => {
                self.position = name_end;
                return Err(self.error("expected = != > >= < or <= after the field's name"));
            }
        };
        self.position += operator.characters();
        if self.peek().is_some_and(is_operator) {
            return Err(self.error("unknown operator; the operators are = != > >= < <="));
        }
        if spaced {
            self.skip_blanks();
        }
        Ok(operator)
    }

    /// The words from here to the end; quotes, lists and objects hold them together.
    pub(super) fn words_ahead(&self) -> Result<Vec<Word>, SyntaxError> {
        let mut scanner = self.clone();
        let mut words = Vec::new();
        loop {
            scanner.skip_blanks();
            let start = scanner.position;
            // A quote or bracket counts where a value or a name may begin.
            let mut begins = true;
            while let Some(character) = scanner.peek().filter(|c| !c.is_whitespace()) {
                match character {
                    '"' | '\'' if begins => drop(scanner.quoted(character)?),
                    '[' | '{' if begins => drop(scanner.bracketed()?),
                    _ => scanner.position += 1,
                }
                begins = is_operator(character) || character == ',';
            }
            if scanner.position == start {
                return Ok(words);
            }
            let text = scanner.characters[start..scanner.position].iter().collect();
            words.push(Word { text, start, end: scanner.position });
        }
    }

    fn literal(&mut self, ends: impl Fn(char) -> bool) -> Result<Literal, SyntaxError> {
        let position = self.position;
        let (text, quoted) = match self.peek() {
            Some(quote @ ('"' | '\'')) => (self.quoted(quote)?, true),
            Some('[' | '{') => (self.bracketed()?, false),
            _ => (self.take_while(|character| !ends(character)), false),
        };
        if self.peek().is_some_and(|character| !ends(character)) {
            return Err(self.error("expected a space or the end after the value"));
        }
        Ok(Literal { text, quoted, position })
    }

    /// A quoted text; a backslash takes the next character as it is, or means `\n` or `\t`.
    fn quoted(&mut self, quote: char) -> Result<String, SyntaxError> {
        let start = self.position;
        self.position += 1;
        let mut text = String::new();
        loop {
            match self.next() {
                Some(character) if character == quote => return Ok(text),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(character) => text.push(character),
                    None => {}
                },
                Some(character) => text.push(character),
                None => {
                    let message = format!("the quote {quote} {NOT_CLOSED}");
                    return Err(SyntaxError { position: start, message });
                }
            }
        }
    }

    /// A JSON list or object, as text, up to the bracket that closes it.
    fn bracketed(&mut self) -> Result<String, SyntaxError> {
        let start = self.position;
        let mut depth = 0;
        while let Some(character) = self.peek() {
            match character {
                '"' => {
                    self.quoted('"')?;
                    continue;
                }
                '[' | '{' => depth += 1,
                ']' | '}' => depth -= 1,
                _ => {}
            }
            self.position += 1;
            if depth == 0 {
                return Ok(self.characters[start..self.position].iter().collect());
            }
        }
        let message = format!("the bracket {} {NOT_CLOSED}", self.characters[start]);
        Err(SyntaxError { position: start, message })
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let start = self.position;
        while self.peek().is_some_and(&wanted) {
            self.position += 1;
        }
        self.characters[start..self.position].iter().collect()
    }
}

impl Operator {
    fn characters(self) -> usize {
        match self {
            Operator::Equal | Operator::Greater | Operator::Less => 1,
            Operator::NotEqual | Operator::GreaterOrEqual | Operator::LessOrEqual => 2,
        }
    }
}

fn is_operator(character: char) -> bool {
    matches!(character, '=' | '!' | '<' | '>')
}
