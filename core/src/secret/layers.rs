//! Nested text: a string literal in a statement, a statement in a literal that is executed, and so
//! on. A layer yields its unescaped bytes, each with the place where it is written.

/// How a text is quoted inside another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// `'…'`, with quotes doubled.
    Quoted,
    /// `E'…'`, where a backslash escapes as well.
    Escaped,
    /// `$tag$…$tag$`: the place and the length of the tag.
    Dollar { tag: usize, length: usize },
    /// `-- …`
    Line,
    /// `/* … */`, which nests: the place of its closing `*/`.
    Block { end: usize },
    /// `"…"` around a field of pgaudit, with double quotes doubled.
    Field,
    /// `"…"` in JSON and YAML.
    Json,
    /// Text in XML, up to the next tag.
    Xml,
}

/// The deepest nesting that is tracked. Deeper text is read as part of the deepest layer, because
/// each layer doubles the quotes of the one around it.
const DEEPEST: usize = 6;

pub struct Layers<'a> {
    text: &'a [u8],
    stack: [Layer; DEEPEST],
    depth: usize,
}

impl<'a> Layers<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, stack: [Layer::Quoted; DEEPEST], depth: 0 }
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    pub fn in_comment(&self) -> bool {
        matches!(self.innermost(), Some(Layer::Line | Layer::Block { .. }))
    }

    pub fn innermost(&self) -> Option<Layer> {
        self.stack[..self.depth].last().copied()
    }

    /// Returns false if the nesting is too deep.
    pub fn open(&mut self, layer: Layer) -> bool {
        let Some(place) = self.stack.get_mut(self.depth) else { return false };
        *place = layer;
        self.depth += 1;
        true
    }

    /// Leaves the innermost layer, which ends at `at`. Returns the place at which the layer around
    /// it continues.
    pub fn close(&mut self, at: usize) -> usize {
        let Some(layer) = self.innermost() else { return at };
        self.depth -= 1;
        let Some((_, next)) = self.byte(at) else { return at };
        match layer {
            Layer::Quoted | Layer::Escaped => self.after_empty_lines(next),
            Layer::Line | Layer::Field | Layer::Json | Layer::Xml => next,
            Layer::Block { .. } => self.byte(next).map_or(next, |(_, next)| next),
            Layer::Dollar { length, .. } => at + length,
        }
    }

    /// The byte of the innermost layer at `at`, and the place of the next one. `None` at the
    /// layer's end.
    pub fn byte(&self, at: usize) -> Option<(u8, usize)> {
        self.byte_on(self.depth, at)
    }

    fn byte_on(&self, depth: usize, at: usize) -> Option<(u8, usize)> {
        let Some(outer) = depth.checked_sub(1) else {
            return self.text.get(at).map(|byte| (*byte, at + 1));
        };
        let (byte, next) = self.byte_on(outer, at)?;
        match (self.stack[outer], byte) {
            (Layer::Quoted | Layer::Escaped, b'\'') => match self.byte_on(outer, next) {
                Some((b'\'', next)) => Some((b'\'', next)),
                _ => self.continued(depth, next),
            },
            (Layer::Field, b'"') => self.byte_on(outer, next).filter(|(second, _)| *second == b'"'),
            (Layer::Json, b'"') | (Layer::Xml, b'<') => None,
            (Layer::Xml, b'&') => Some(self.entity(at, next)),
            (Layer::Escaped | Layer::Json, b'\\') => self.escaped(outer, next),
            (Layer::Dollar { tag, length }, b'$')
                if self.text[at..].starts_with(&self.text[tag..tag + length]) =>
            {
                None
            }
            (Layer::Line, b'\n' | b'\r') => None,
            (Layer::Block { end }, _) if at >= end => None,
            _ => Some((byte, next)),
        }
    }

    /// Reads what follows a backslash: `n`, `x70`, `160`, `u0070`, `U00000070`.
    fn escaped(&self, outer: usize, at: usize) -> Option<(u8, usize)> {
        let (first, next) = self.byte_on(outer, at)?;
        let (radix, least, most, start) = match first {
            b'x' => (16, 1, 2, next),
            b'u' => (16, 4, 4, next),
            b'U' => (16, 8, 8, next),
            b'0'..=b'7' => (8, 1, 3, at),
            _ => return Some((meaning(first), next)),
        };
        let (mut value, mut digits, mut end) = (0_u32, 0, start);
        while let Some((byte, next)) = self.byte_on(outer, end).filter(|_| digits < most) {
            let Some(digit) = char::from(byte).to_digit(radix) else { break };
            (value, digits, end) =
                (value.wrapping_mul(radix).wrapping_add(digit), digits + 1, next);
        }
        // A multibyte character counts as a letter.
        let byte = u8::try_from(value).unwrap_or(0xFF);
        Some(if digits < least { (first, next) } else { (byte, end) })
    }

    /// Reads an entity as PostgreSQL writes it (escape_xml, xml.c). Such a text is always the
    /// outermost layer.
    fn entity(&self, at: usize, next: usize) -> (u8, usize) {
        const ENTITIES: [(&[u8], u8); 4] =
            [(b"&amp;", b'&'), (b"&lt;", b'<'), (b"&gt;", b'>'), (b"&#x0d;", b'\r')];
        let rest = &self.text[at..];
        let found = ENTITIES.into_iter().find(|(written, _)| rest.starts_with(written));
        found.map_or((b'&', next), |(written, byte)| (byte, at + written.len()))
    }

    /// A literal continues in the quotes of a following line. `at` is the place after a quote that
    /// may be its last.
    fn continued(&self, depth: usize, mut at: usize) -> Option<(u8, usize)> {
        let outer = depth - 1;
        let mut new_line = false;
        while let Some((byte, next)) = self.byte_on(outer, at) {
            match byte {
                b'\n' | b'\r' => new_line = true,
                b'\'' if new_line => match self.byte_on(outer, next) {
                    Some((b'\'', after)) => {
                        // Two quotes: an empty line, or a line that starts with a quote.
                        if let Some((b'\'', end)) = self.byte_on(outer, after) {
                            return Some((b'\'', end));
                        }
                        (at, new_line) = (after, false);
                        continue;
                    }
                    Some((b'\\', after)) if self.stack[outer] == Layer::Escaped => {
                        return self.escaped(outer, after);
                    }
                    found => return found,
                },
                _ if byte.is_ascii_whitespace() || byte == 0x0B => {}
                _ => return None,
            }
            at = next;
        }
        None
    }

    /// The end of a literal that is over at `at`, after any lines with empty quotes that belong to
    /// it.
    fn after_empty_lines(&self, at: usize) -> usize {
        let (mut end, mut at, mut new_line) = (at, at, false);
        while let Some((byte, next)) = self.byte(at) {
            at = next;
            match byte {
                b'\n' | b'\r' => new_line = true,
                b'\'' if new_line => match self.byte(next) {
                    Some((b'\'', after)) => (end, at, new_line) = (after, after, false),
                    _ => break,
                },
                _ if byte.is_ascii_whitespace() || byte == 0x0B => {}
                _ => break,
            }
        }
        end
    }

    /// The end of the comment whose text begins at `at`: its last `*/`, or the end of the layer.
    pub fn block_end(&self, mut at: usize) -> usize {
        let mut open = 1;
        while let Some((byte, next)) = self.byte(at) {
            match (byte, self.byte(next)) {
                (b'/', Some((b'*', after))) => {
                    open += 1;
                    at = after;
                }
                (b'*', Some((b'/', after))) => {
                    open -= 1;
                    if open == 0 {
                        return at;
                    }
                    at = after;
                }
                _ => at = next,
            }
        }
        at
    }

    /// The tag of a dollar-quoted text that begins at `at`. A tag contains nothing that a layer
    /// would escape.
    pub fn dollar(&self, at: usize) -> Option<Layer> {
        let rest = self.text.get(at + 1..)?;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
        let name = rest.iter().take_while(|byte| is_part(byte)).count();
        let is_tag = rest.get(name) == Some(&b'$') && !rest[0].is_ascii_digit();
        is_tag.then_some(Layer::Dollar { tag: at, length: name + 2 })
    }
}

fn meaning(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'f' => 0x0C,
        other => other,
    }
}
