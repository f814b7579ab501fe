//! Conditions of metrics: CEL over `result`.
//!
//! The parser only knows the syntax. That `len` is not a function of CEL, that `reslt` is nothing, and that a list is no number
//! would otherwise come to light in the middle of a rollout, as an error of a measurement; so names are looked up, and a
//! condition on numbers is tried once.

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr};
use cel::{Context, ExecutionError, Program, Value};

use super::placeholders;
use crate::fields::{At, quoted, suggest};

/// Longest condition, in bytes: what is longer belongs into a query.
const LENGTH_MAX: usize = 1024;

const HELP: &str = "conditions are CEL over `result`, for example result[0] >= 0.95";

/// The one variable.
const RESULT: &str = "result";
/// Names of types, which `type(result)` is compared with.
const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
const FUNCTIONS: [&str; 13] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
];
/// Written like functions, with a fixed number of arguments.
const MACROS: [&str; 6] = ["all", "exists", "exists_one", "filter", "has", "map"];
/// What Argo's conditions have in place of CEL's words.
const ARGO: [(&str, &str); 7] = [
    ("len", "write size(result)"),
    ("isNaN", "write result[0] != result[0], which is true of NaN alone"),
    ("isInf", "compare with a number that is large enough"),
    ("default", "write size(result) == 0 || result[0] >= 0.95"),
    ("asInt", "write int(result)"),
    ("asFloat", "write double(result)"),
    ("nil", "write null"),
];

/// What is known of a result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Measured {
    /// A list of numbers.
    Numbers,
    /// Whatever an answer holds.
    Anything,
}

/// The value as a condition.
pub(super) fn lower<'a>(at: &At<'a>, declared: &[&str], measured: Measured) -> Option<&'a str> {
    let text = at.text(LENGTH_MAX)?;
    placeholders::check(at, text, Some(declared));
    let program = match Program::compile(&placeholders::filled_in(text)) {
        Ok(program) => program,
        Err(errors) => {
            let what = errors.errors.first().map_or("it cannot be read", |error| error.msg.as_str());
            at.error(
                format!("the condition {} is not CEL: {}", quoted(text), in_short(what)),
                syntax_help(text),
            );
            return None;
        }
    };
    let mut names = Names::default();
    names.visit(program.expression());
    for (name, help) in &names.unknown {
        at.error(format!("the condition names `{name}`, which does not exist here"), help.as_str());
    }
    if !names.unknown.is_empty() {
        return None;
    }
    // Loops within loops could take long, and a placeholder may stand for anything.
    if measured == Measured::Numbers && !names.loops && !placeholders::has_any(text) {
        try_once(at, &program);
    }
    Some(text)
}

/// Longest part of a parser's message that is shown, in characters.
const MESSAGE_MAX: usize = 120;

/// The parser's message in one line, without the list of everything that would have been right.
fn in_short(message: &str) -> String {
    let message = message.trim_start_matches("Syntax error: ");
    let message = message.split_once(" expecting {").map_or(message, |(what, _)| what);
    let words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(MESSAGE_MAX).collect()
}

/// Conditions come from Argo, whose language has words where CEL has signs.
fn syntax_help(text: &str) -> &'static str {
    let argo = text.split_whitespace().any(|word| ["and", "or", "not"].contains(&word));
    if argo { "in CEL write && for and, || for or, ! for not" } else { HELP }
}

/// Evaluates a condition over one number.
fn try_once(at: &At<'_>, program: &Program) {
    let mut context = Context::default();
    if context.add_variable(RESULT, vec![0.5_f64]).is_err() {
        return;
    }
    let numbers = "`result` is a list of numbers, one for each series: compare result[0]";
    match program.execute(&context) {
        Ok(Value::Bool(_)) => {}
        Ok(_) => at.error("the condition is neither true nor false", HELP),
        // Fewer series than the condition asks for, or a division by what happens to be nothing, is not its fault.
        Err(
            ExecutionError::NoSuchOverload(_)
            | ExecutionError::UnsupportedBinaryOperator(..)
            | ExecutionError::ValuesNotComparable(..)
            | ExecutionError::UnexpectedType { .. },
        ) => at.error("the condition compares what cannot be compared", numbers),
        Err(_) => {}
    }
}

/// The names that an expression uses.
#[derive(Default)]
struct Names<'e> {
    /// Variables of the loops around the place that is being looked at.
    bound: Vec<&'e str>,
    unknown: Vec<(&'e str, String)>,
    loops: bool,
}

impl<'e> Names<'e> {
    fn visit(&mut self, expression: &'e IdedExpr) {
        match &expression.expr {
            Expr::Ident(name) => self.variable(name),
            Expr::Call(call) => {
                self.function(&call.func_name);
                call.target.iter().for_each(|target| self.visit(target));
                call.args.iter().for_each(|argument| self.visit(argument));
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => list.elements.iter().for_each(|element| self.visit(element)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(object) => {
                self.unknown.push((&object.type_name, HELP.to_owned()));
                object.entries.iter().for_each(|entry| self.entry(&entry.expr));
            }
            Expr::Select(select) => self.visit(&select.operand),
            Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn entry(&mut self, entry: &'e EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => self.visit(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key);
                self.visit(&entry.value);
            }
        }
    }

    fn comprehension(&mut self, comprehension: &'e ComprehensionExpr) {
        self.loops = true;
        self.visit(&comprehension.iter_range);
        let outside = self.bound.len();
        self.bound.extend([comprehension.iter_var.as_str(), comprehension.accu_var.as_str()]);
        self.bound.extend(comprehension.iter_var2.as_deref());
        let parts = [
            &comprehension.accu_init,
            &comprehension.loop_cond,
            &comprehension.loop_step,
            &comprehension.result,
        ];
        for part in parts {
            self.visit(part);
        }
        self.bound.truncate(outside);
    }

    fn variable(&mut self, name: &'e str) {
        if name != RESULT && !self.bound.contains(&name) && !TYPES.contains(&name) {
            self.unknown(name, &[RESULT], "the only variable is `result`");
        }
    }

    fn function(&mut self, name: &'e str) {
        let operator = !name.starts_with(|letter: char| letter.is_ascii_alphabetic());
        if MACROS.contains(&name) {
            let help = "write for example result.all(x, x < 0.5)".to_owned();
            self.unknown.push((name, help));
        } else if !operator && !FUNCTIONS.contains(&name) {
            self.unknown(name, &FUNCTIONS, &format!("functions are {}", suggest::list(FUNCTIONS)));
        }
    }

    fn unknown(&mut self, name: &'e str, known: &[&str], otherwise: &str) {
        let argo = ARGO.iter().find(|(word, _)| *word == name);
        let help = match (argo, suggest::nearest(name, known.iter().copied())) {
            (Some((_, help)), _) => (*help).to_owned(),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => otherwise.to_owned(),
        };
        self.unknown.push((name, help));
    }
}

#[cfg(test)]
mod tests {
    use cel::{Context, Program, Value};

    use super::{FUNCTIONS, Names, TYPES};

    fn unknown(condition: &str) -> Vec<String> {
        let program = Program::compile(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
        let mut names = Names::default();
        names.visit(program.expression());
        names.unknown.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_looked_up_where_they_are_used() {
        for (condition, wanted) in [
            ("result[0] >= 0.95", &[][..]),
            ("size(result) == 0 || result[0] > 1.0", &[]),
            ("result.all(x, x < 1.0 && result.exists(y, y == x))", &[]),
            ("result.map(x, x * 2.0) == [1.0]", &[]),
            ("has(result.data) && result.data.ok == true && 'a' in result.list", &[]),
            ("type(result) == double || result == null", &[]),
            ("{'a': reslt}", &["reslt"]),
            ("result.all(x, y)", &["y"]),
            ("result.all(x, true) && x", &["x"]),
            ("len(result) > 0 && isNaN(result[0])", &["len", "isNaN"]),
            ("result.exists(x)", &["exists", "x"]),
            ("a.b{c: 1} == result", &["a.b"]),
        ] {
            assert_eq!(unknown(condition), wanted, "{condition}");
        }
    }

    #[test]
    fn every_function_that_is_known_can_be_called() {
        let calls = [
            "bool('true')",
            "bytes('a') == b'a'",
            "'abc'.contains('b')",
            "double(1) == 1.0",
            "dyn(1) == 1",
            "'abc'.endsWith('c')",
            "int('1') == 1",
            "'abc'.matches('b')",
            "size([1]) == 1 && [1].size() == 1",
            "'abc'.startsWith('a')",
            "string(1) == '1'",
            "type(1) == int && type(1.0) == double && type('') == string && type([]) == list",
            "uint(1) == 1u",
        ];
        assert_eq!(calls.len(), FUNCTIONS.len());
        for (call, function) in calls.iter().zip(FUNCTIONS) {
            assert!(call.contains(function), "{call}");
            let result = Program::compile(call).unwrap().execute(&Context::default());
            assert_eq!(result, Ok(Value::Bool(true)), "{call}");
        }
        for name in TYPES {
            let result =
                Program::compile(&format!("type(1) == {name}")).unwrap().execute(&Context::default());
            assert!(matches!(result, Ok(Value::Bool(_))), "{name}: {result:?}");
        }
        let nan = "result[0] != result[0]";
        let mut context = Context::default();
        context.add_variable("result", vec![f64::NAN]).unwrap();
        assert_eq!(Program::compile(nan).unwrap().execute(&context), Ok(Value::Bool(true)));
    }
}
