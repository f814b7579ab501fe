//! Where everything stands in the text, by a second parser. For messages only: it never decides what a text means.
//!
//! The two parsers agree on everything that people write. Where they do not, [`super::node::place`] notices that the shapes
//! differ and goes on without places for that part.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

use super::NODES_MAX;
use crate::problem::Spot;

/// The place of a value and of what is inside it.
#[derive(Debug)]
pub(super) struct Spans {
    pub(super) spot: Spot,
    pub(super) inside: Inside,
}

#[derive(Debug)]
pub(super) enum Inside {
    /// The text of an unquoted scalar as written (`1.10` is not `1.1`); `None` if it was quoted.
    Scalar(Option<String>),
    Sequence(Vec<Rc<Spans>>),
    Mapping(Vec<(Rc<Spans>, Rc<Spans>)>),
}

/// The places of each document. Ends early where the text cannot be followed.
pub(super) fn of(text: &str) -> Vec<Option<Rc<Spans>>> {
    let mut walk = Walk { parser: Parser::new_from_str(text), anchors: HashMap::new(), left: 4 * NODES_MAX };
    let mut documents = Vec::new();
    while let Some((event, _)) = walk.next() {
        match event {
            Event::DocumentStart(..) => {
                walk.anchors.clear();
                let Some((event, span)) = walk.next() else { break };
                let root = walk.value(event, span);
                let complete = root.is_some();
                documents.push(root);
                if !complete {
                    break;
                }
            }
            Event::StreamEnd => break,
            _ => {}
        }
    }
    documents
}

struct Walk<'t> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, Rc<Spans>>,
    left: usize,
}

impl<'t> Walk<'t> {
    /// The next event that matters; `None` at the end, at an error and at the limit.
    fn next(&mut self) -> Option<(Event<'t>, Span)> {
        self.left = self.left.checked_sub(1)?;
        self.parser.next_event()?.ok()
    }

    fn value(&mut self, event: Event<'t>, span: Span) -> Option<Rc<Spans>> {
        let mut spot = spot(&span);
        let (inside, anchor) = match event {
            Event::Alias(id) => return self.anchors.get(&id).cloned(),
            Event::Scalar(text, style, anchor, _) => {
                (Inside::Scalar((style == ScalarStyle::Plain).then(|| text.into_owned())), anchor)
            }
            Event::SequenceStart(style, anchor, _) => {
                let (items, end) = self.items()?;
                spot = collection(spot, &end, style, None);
                (Inside::Sequence(items), anchor)
            }
            Event::MappingStart(style, anchor, _) => {
                let (entries, end) = self.entries()?;
                spot = collection(spot, &end, style, entries.first().map(|(key, _)| key.spot));
                (Inside::Mapping(entries), anchor)
            }
            _ => return None,
        };
        let spans = Rc::new(Spans { spot, inside });
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&spans));
        }
        Some(spans)
    }

    fn items(&mut self) -> Option<(Vec<Rc<Spans>>, Span)> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, end) => return Some((items, end)),
                (event, span) => items.push(self.value(event, span)?),
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "a list of pairs and its end, named where it is taken apart")]
    fn entries(&mut self) -> Option<(Vec<(Rc<Spans>, Rc<Spans>)>, Span)> {
        let mut entries = Vec::new();
        loop {
            match self.next()? {
                (Event::MappingEnd, end) => return Some((entries, end)),
                (event, span) => {
                    let key = self.value(event, span)?;
                    let (event, span) = self.next()?;
                    entries.push((key, self.value(event, span)?));
                }
            }
        }
    }
}

/// A place as people count: lines and columns from 1. What goes on over several lines is underlined by one caret.
fn spot(span: &Span) -> Spot {
    let one_line = span.start.line() == span.end.line();
    let length = if one_line { span.end.col().saturating_sub(span.start.col()).max(1) } else { 1 };
    Spot { line: span.start.line() as u32, column: span.start.col() as u32 + 1, length: length as u32 }
}

/// A collection in brackets is underlined whole if it is on one line, a block mapping by its first key.
fn collection(start: Spot, end: &Span, style: StructureStyle, first_key: Option<Spot>) -> Spot {
    match style {
        StructureStyle::Flow if end.end.line() == start.line as usize => {
            let length = (end.end.col() + 1).saturating_sub(start.column as usize).max(1);
            Spot { length: length as u32, ..start }
        }
        StructureStyle::Flow => Spot { length: 1, ..start },
        StructureStyle::Block => first_key.unwrap_or(Spot { length: 1, ..start }),
    }
}
