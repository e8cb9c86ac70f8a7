//! Text within text: a string literal in a statement, a statement in a literal that is executed, and so
//! on. A layer is read as what it means, byte by byte, together with where each byte is written.

/// How a text is written inside of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// `'…'`, with quotes doubled.
    Quoted,
    /// `E'…'`, where a backslash escapes as well.
    Escaped,
    /// `$tag$…$tag$`: where the tag is written, and how long it is.
    Dollar { tag: usize, length: usize },
    /// `-- …`
    Line,
    /// `/* … */`
    Block,
}

/// Deeper text is read as if it belonged to the deepest layer: each doubles the quotes of the one
/// around it.
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
        matches!(self.innermost(), Some(Layer::Line | Layer::Block))
    }

    fn innermost(&self) -> Option<Layer> {
        self.stack[..self.depth].last().copied()
    }

    /// False when there is no room.
    pub fn open(&mut self, layer: Layer) -> bool {
        let Some(place) = self.stack.get_mut(self.depth) else { return false };
        *place = layer;
        self.depth += 1;
        true
    }

    /// Leaves the innermost layer, which ends at `at`. Returns where the one around it goes on.
    pub fn close(&mut self, at: usize) -> usize {
        let Some(layer) = self.innermost() else { return at };
        self.depth -= 1;
        let Some((_, next)) = self.byte(at) else { return at };
        match layer {
            Layer::Quoted | Layer::Escaped | Layer::Line => next,
            Layer::Block => self.byte(next).map_or(next, |(_, next)| next),
            Layer::Dollar { length, .. } => at + length,
        }
    }

    /// The byte of the innermost layer that is written at `at`, and where the next one is. `None` at the
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
            (Layer::Quoted | Layer::Escaped, b'\'') => {
                self.byte_on(outer, next).filter(|(second, _)| *second == b'\'')
            }
            (Layer::Escaped, b'\\') => {
                self.byte_on(outer, next).map(|(escaped, next)| (meaning(escaped), next))
            }
            (Layer::Dollar { tag, length }, b'$')
                if self.text[at..].starts_with(&self.text[tag..tag + length]) =>
            {
                None
            }
            (Layer::Line, b'\n') => None,
            (Layer::Block, b'*') if matches!(self.byte_on(outer, next), Some((b'/', _))) => None,
            _ => Some((byte, next)),
        }
    }

    /// The tag of a dollar-quoted text that begins at `at`. No layer writes a tag in another way.
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
