//! From syntax to nodes.
//!
//! Duty: resolve references, check the arguments of functions, and find all mistakes of all fields at
//! once.

use std::collections::HashMap;

use super::node::{How, Member, Node, TextPiece, TimeFormat};
use super::parse::{Argument, Expr, Label, Piece, is_name, parse};
use crate::random::{Zipf, hash};

/// Hexadecimal texts have at most so many digits, and arrays so many elements, those of the arrays in
/// them counted in.
const MAX_ELEMENTS: i64 = 10_000;
const FUNCTIONS: &str = "array, bool, choice, float, hex, int, maybe, normal, object, optional, per, \
                         product, sequence, sum, switch, timestamp, uuid, zipf";

/// What the JSON of a node looks like, as far as other nodes must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Number,
    /// Text, a boolean or null, which can stand in a text.
    Scalar,
    /// An array or object.
    Compound,
}

type Compiled = Result<(Node, Shape), String>;

/// The fields of an object in progress.
#[derive(Debug, Default)]
struct Scope(HashMap<String, (usize, Shape)>);

pub(super) struct Compiler {
    scopes: Vec<Scope>,
    slots: usize,
    /// The field that is being compiled.
    path: String,
    /// The most elements of the arrays around an expression, multiplied.
    elements: i64,
}

/// Fields by name, in order, as they were given.
enum Tree<'a> {
    Leaf(&'a str),
    Branch(Vec<(&'a str, Tree<'a>)>),
}

/// A compiled record.
pub(super) struct Layout {
    pub(super) members: Vec<Member>,
    /// How many slots it has.
    pub(super) slots: usize,
    /// The slot of the key.
    pub(super) key: Option<usize>,
}

/// Compiles the given fields, a dotted path with its expression each, and finds `key` among them.
pub(super) fn compile(
    fields: &[(&str, &str)],
    key: Option<&str>,
) -> Result<Layout, Vec<(String, String)>> {
    let mut errors = Vec::new();
    let mut root = Vec::new();
    for (path, expression) in fields {
        if let Err(error) = insert(&mut root, path, expression) {
            errors.push(((*path).to_owned(), error));
        }
    }
    let mut compiler =
        Compiler { scopes: vec![Scope::default()], slots: 0, path: String::new(), elements: 1 };
    let members = compiler.branch(&root, "", &mut errors);
    let found = key.and_then(|key| compiler.scopes.first()?.0.get(key).copied());
    let key = match (key, found) {
        (Some(_), Some((_, Shape::Compound))) => {
            errors.push((String::new(), "The key must be a text or a number".to_owned()));
            None
        }
        (Some(key), None) => {
            errors.push((String::new(), format!("There is no field {key}")));
            None
        }
        (_, found) => found.map(|(slot, _)| slot),
    };
    if errors.is_empty() { Ok(Layout { members, slots: compiler.slots, key }) } else { Err(errors) }
}

fn insert<'a>(
    branch: &mut Vec<(&'a str, Tree<'a>)>,
    path: &'a str,
    expression: &'a str,
) -> Result<(), String> {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    if name.is_empty() || !name.chars().all(is_name) {
        return Err("The name of a field consists of letters, digits, '_', '-' and '@'".to_owned());
    }
    let at = match branch.iter().position(|(other, _)| *other == name) {
        Some(at) => at,
        None => {
            branch.push((name, Tree::Branch(Vec::new())));
            branch.len() - 1
        }
    };
    let clash = || Err(format!("{name} can't be a value and have fields of its own"));
    match (&mut branch[at].1, rest) {
        (Tree::Branch(below), Some(rest)) => insert(below, rest, expression),
        (Tree::Leaf(_), Some(_)) => clash(),
        (Tree::Branch(below), None) if !below.is_empty() => clash(),
        (tree, None) => {
            *tree = Tree::Leaf(expression);
            Ok(())
        }
    }
}

impl Compiler {
    /// The members of the top level, and of the objects that dotted paths make.
    fn branch(
        &mut self,
        branch: &[(&str, Tree<'_>)],
        prefix: &str,
        errors: &mut Vec<(String, String)>,
    ) -> Vec<Member> {
        let mut members = Vec::new();
        for (name, tree) in branch {
            let path = format!("{prefix}{name}");
            let compiled = match tree {
                Tree::Branch(below) => Ok((
                    Node::Object(self.branch(below, &format!("{path}."), errors)),
                    Shape::Compound,
                )),
                Tree::Leaf(text) => {
                    self.path.clone_from(&path);
                    parse(text).and_then(|expr| self.expression(&expr))
                }
            };
            match compiled {
                Ok((node, shape)) => members.push(self.member(name, path, node, shape)),
                Err(error) => {
                    // So that references to it are not reported too.
                    self.declare(path.clone(), Shape::Number);
                    errors.push((path, error));
                }
            }
        }
        members
    }

    fn member(&mut self, name: &str, path: String, node: Node, shape: Shape) -> Member {
        let slot = self.declare(path, shape);
        Member { name: format!("\"{name}\":").into_bytes().into(), slot, node }
    }

    fn declare(&mut self, path: String, shape: Shape) -> usize {
        let slot = self.slots;
        self.slots += 1;
        if let Some(scope) = self.scopes.last_mut() {
            scope.0.insert(path, (slot, shape));
        }
        slot
    }

    fn expression(&mut self, expr: &Expr) -> Compiled {
        match expr {
            Expr::Reference(path) => {
                let (slot, shape) = self.reference(path)?;
                Ok((Node::Reference(slot), shape))
            }
            Expr::Call(name, arguments) => self.call(name, arguments),
            Expr::Text(pieces) if pieces.iter().any(|p| matches!(p, Piece::Computed(_))) => {
                self.text(pieces)
            }
            literal => {
                let json = literal_json(literal).ok_or("expected a literal")?;
                let number = matches!(literal, Expr::Int(_) | Expr::Float(_));
                let shape = if number { Shape::Number } else { Shape::Scalar };
                Ok((Node::Literal(json.into_bytes().into()), shape))
            }
        }
    }

    /// The innermost object's fields hide those around it.
    fn reference(&self, path: &str) -> Result<(usize, Shape), String> {
        let found = self.scopes.iter().rev().find_map(|scope| scope.0.get(path));
        found.copied().ok_or_else(|| format!("${path} is no field before this one"))
    }

    fn text(&mut self, pieces: &[Piece]) -> Compiled {
        let mut compiled = Vec::new();
        for piece in pieces {
            compiled.push(match piece {
                Piece::Plain(text) => TextPiece::Plain(bare_json(text)),
                Piece::Computed(expr) => match self.expression(expr)? {
                    (_, Shape::Compound) => {
                        return Err("an array or object can't stand in a text".to_owned());
                    }
                    (node, _) => TextPiece::Computed(node),
                },
            });
        }
        Ok((Node::Text(compiled), Shape::Scalar))
    }

    fn call(&mut self, name: &str, arguments: &[Argument]) -> Compiled {
        let mut args = Arguments::new(name, arguments);
        let number = |node| Ok((node, Shape::Number));
        let scalar = |node| Ok((node, Shape::Scalar));
        let compiled = match name {
            "sequence" => {
                let (start, step) = (args.int("start", Some(0))?, args.int("step", Some(1))?);
                number(Node::Sequence { start, step })
            }
            "int" => {
                let (min, max) = (args.int("min", None)?, args.int("max", None)?);
                number(range(min, max, 0)?)
            }
            "float" => {
                let (min, max) = (args.float("min", None)?, args.float("max", None)?);
                let decimals = args.decimals()?;
                number(range(scale(min, decimals)?, scale(max, decimals)?, decimals)?)
            }
            "normal" => {
                let (mean, deviation) = (args.float("mean", None)?, args.float("deviation", None)?);
                number(Node::Normal { mean, deviation, decimals: args.decimals()? })
            }
            "zipf" => {
                let n = args.int("n", None)?;
                let exponent = args.float("exponent", Some(1.0))?;
                if n < 1 || exponent < 0.0 {
                    return Err(
                        "zipf needs n of at least 1 and an exponent of at least 0".to_owned()
                    );
                }
                number(Node::Zipf(Zipf::new(n.unsigned_abs(), exponent)))
            }
            "bool" => scalar(Node::Bool(args.probability("probability", Some(0.5))?)),
            "uuid" => scalar(Node::Uuid),
            "hex" => scalar(Node::Hex(args.count("digits", MAX_ELEMENTS)?)),
            "timestamp" => args.timestamp(),
            "sum" => self.combination(How::Sum, &mut args),
            "product" => self.combination(How::Product, &mut args),
            "maybe" | "optional" => {
                let probability = args.probability("probability", None)?;
                let (node, shape) = self.expression(args.expression("value")?)?;
                let node = Box::new(node);
                let shape = if shape == Shape::Number { Shape::Scalar } else { shape };
                match name {
                    "maybe" => Ok((Node::Maybe(probability, node), shape)),
                    _ => Ok((Node::Optional(probability, node), shape)),
                }
            }
            "array" => {
                let (min, max) = (args.int("min", None)?, args.int("max", None)?);
                let outer = self.elements;
                self.elements = outer.saturating_mul(max.max(1));
                if !(0..=max).contains(&min) || self.elements > MAX_ELEMENTS {
                    self.elements = outer;
                    return Err(format!("array needs 0 <= min <= max <= {}", MAX_ELEMENTS / outer));
                }
                let element = args.expression("element").and_then(|e| self.expression(e));
                self.elements = outer;
                let (element, _) = element?;
                let (min, span) = (min.unsigned_abs(), max.abs_diff(min) + 1);
                Ok((Node::Array { min, span, element: Box::new(element) }, Shape::Compound))
            }
            "per" => {
                let (slot, _) = self.reference(args.reference("key")?)?;
                let (node, shape) = self.expression(args.expression("value")?)?;
                let salt = hash(self.path.as_bytes());
                Ok((Node::Per { slot, salt, node: Box::new(node) }, shape))
            }
            "choice" => self.choice(args.rest()),
            "object" => self.object(args.rest()),
            "switch" => self.switch(&mut args),
            _ => return Err(format!("there is no function {name}; there are {FUNCTIONS}")),
        };
        args.finish()?;
        compiled
    }

    fn combination(&mut self, how: How, args: &mut Arguments<'_>) -> Compiled {
        let decimals = args.decimals()?;
        let mut terms = Vec::new();
        for argument in args.rest() {
            match (&argument.label, self.expression(&argument.value)?) {
                (None, (node, Shape::Number)) => terms.push(node),
                _ => return Err(format!("{} takes numbers", args.name)),
            }
        }
        if terms.is_empty() {
            return Err(format!("{} needs a number", args.name));
        }
        Ok((Node::Combination { how, terms, decimals }, Shape::Number))
    }

    /// Options with their weights, 1 if none is given.
    fn choice(&mut self, arguments: &[Argument]) -> Compiled {
        let mut options = Vec::new();
        let mut shapes = Vec::new();
        for argument in arguments {
            let (value, weight) = match (&argument.label, &argument.value) {
                (None, value) => (value.clone(), 1.0),
                (Some(label), Expr::Int(weight)) => (literal(label)?, *weight as f64),
                (Some(label), Expr::Float(weight)) => (literal(label)?, *weight),
                _ => return Err("the weight of a choice is a number".to_owned()),
            };
            if !(weight >= 0.0 && weight.is_finite()) {
                return Err("the weight of a choice is at least 0".to_owned());
            }
            let (node, shape) = self.expression(&value)?;
            shapes.push(shape);
            options.push((weight, node));
        }
        let total: f64 = options.iter().map(|(weight, _)| weight).sum();
        if total <= 0.0 {
            return Err("choice needs an option with a weight above 0".to_owned());
        }
        let mut sum = 0.0;
        let bounded =
            options.into_iter().filter(|(weight, _)| *weight > 0.0).map(|(weight, node)| {
                sum += weight;
                // The cast saturates at the largest number.
                ((sum / total * 2_f64.powi(64)) as u64, node)
            });
        Ok((Node::Choice(bounded.collect()), common(&shapes)))
    }

    fn object(&mut self, arguments: &[Argument]) -> Compiled {
        self.scopes.push(Scope::default());
        let mut members = Vec::new();
        let mut outcome = Ok(());
        for argument in arguments {
            let Some(Label::Name(name)) = &argument.label else {
                outcome = Err("object takes members such as name: 'value'".to_owned());
                break;
            };
            match self.expression(&argument.value) {
                Ok((node, shape)) => members.push(self.member(name, name.clone(), node, shape)),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.scopes.pop();
        outcome.map(|()| (Node::Object(members), Shape::Compound))
    }

    fn switch(&mut self, args: &mut Arguments<'_>) -> Compiled {
        let (slot, _) = self.reference(args.reference("field")?)?;
        let Some((last, cases)) = args.rest().split_last().filter(|(last, _)| last.label.is_none())
        else {
            return Err("switch ends in a value for all other cases".to_owned());
        };
        let (otherwise, shape) = self.expression(&last.value)?;
        let (mut compiled, mut shapes) = (Vec::new(), vec![shape]);
        for case in cases {
            let label = case.label.as_ref().map(literal).transpose()?;
            let Some(json) = label.as_ref().and_then(literal_json) else {
                return Err("a case of switch is a number or text before a colon".to_owned());
            };
            let (node, shape) = self.expression(&case.value)?;
            shapes.push(shape);
            compiled.push((json.into_bytes().into(), node));
        }
        let node = Node::Switch { slot, cases: compiled, otherwise: Box::new(otherwise) };
        Ok((node, common(&shapes)))
    }
}

fn common(shapes: &[Shape]) -> Shape {
    if shapes.contains(&Shape::Compound) {
        Shape::Compound
    } else if shapes.iter().all(|shape| *shape == Shape::Number) {
        Shape::Number
    } else {
        Shape::Scalar
    }
}

/// What stands before a colon as a value: `true` and the like were read as names.
fn literal(label: &Label) -> Result<Expr, String> {
    match label {
        Label::Value(value) => Ok(value.clone()),
        Label::Name(name) => match name.as_str() {
            "true" => Ok(Expr::Bool(true)),
            "false" => Ok(Expr::Bool(false)),
            "null" => Ok(Expr::Null),
            _ => Err(format!("{name} before a colon must stand in single quotes here")),
        },
    }
}

fn literal_json(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Null => Some("null".to_owned()),
        Expr::Bool(b) => Some(b.to_string()),
        Expr::Int(n) => Some(n.to_string()),
        Expr::Float(n) => serde_json::to_string(n).ok(),
        Expr::Text(pieces) => match pieces.as_slice() {
            [Piece::Plain(text)] => serde_json::to_string(text).ok(),
            _ => None,
        },
        Expr::Reference(_) | Expr::Call(..) => None,
    }
}

/// The JSON of a text without its quotes.
fn bare_json(text: &str) -> Box<[u8]> {
    let json = serde_json::to_string(text).unwrap_or_default();
    json.get(1..json.len().saturating_sub(1)).unwrap_or_default().as_bytes().into()
}

fn range(min: i64, max: i64, decimals: u8) -> Result<Node, String> {
    match max.checked_sub(min) {
        Some(difference @ 0..) => {
            Ok(Node::Number { min, span: difference.unsigned_abs() + 1, decimals })
        }
        Some(_) => Err("the greatest value is below the least".to_owned()),
        None => Err("the range is too wide".to_owned()),
    }
}

/// `n` in units of 10^-decimals.
fn scale(n: f64, decimals: u8) -> Result<i64, String> {
    let scaled = (n * 10_f64.powi(decimals.into())).round();
    if scaled.abs() < 9e18 { Ok(scaled as i64) } else { Err("the number is too large".to_owned()) }
}

/// A function's arguments: those by position are taken in order, named ones from anywhere.
struct Arguments<'a> {
    name: &'a str,
    positional: &'a [Argument],
    named: Vec<&'a Argument>,
}

impl<'a> Arguments<'a> {
    /// Functions with arguments of any number take [`Arguments::rest`], which then holds named ones
    /// too, but for `decimals` at the end.
    fn new(name: &'a str, arguments: &'a [Argument]) -> Self {
        let variadic = matches!(name, "choice" | "object" | "switch");
        let is_named = |a: &&Argument| !variadic && matches!(a.label, Some(Label::Name(_)));
        let at = arguments.iter().position(|a| is_named(&a)).unwrap_or(arguments.len());
        let (positional, named) = arguments.split_at(at);
        Self { name, positional, named: named.iter().collect() }
    }

    fn rest(&mut self) -> &'a [Argument] {
        std::mem::take(&mut self.positional)
    }

    fn take(&mut self, name: &str) -> Option<&'a Expr> {
        let is_it = |a: &&&Argument| matches!(&a.label, Some(Label::Name(n)) if n == name);
        if let Some(at) = self.named.iter().position(|a| is_it(&a)) {
            return Some(&self.named.remove(at).value);
        }
        let (first, rest) = self.positional.split_first()?;
        if first.label.is_some() {
            return None;
        }
        self.positional = rest;
        Some(&first.value)
    }

    /// A named argument only.
    fn take_named(&mut self, name: &str) -> Option<&'a Expr> {
        let positional = std::mem::take(&mut self.positional);
        let taken = self.take(name);
        self.positional = positional;
        taken
    }

    fn missing(&self, name: &str, what: &str) -> String {
        format!("{} needs {what} as its {name}", self.name)
    }

    fn int(&mut self, name: &str, default: Option<i64>) -> Result<i64, String> {
        match (self.take(name), default) {
            (Some(Expr::Int(n)), _) => Ok(*n),
            (None, Some(default)) => Ok(default),
            _ => Err(self.missing(name, "a whole number")),
        }
    }

    fn float(&mut self, name: &str, default: Option<f64>) -> Result<f64, String> {
        match (self.take(name), default) {
            (Some(Expr::Int(n)), _) => Ok(*n as f64),
            (Some(Expr::Float(n)), _) => Ok(*n),
            (None, Some(default)) => Ok(default),
            _ => Err(self.missing(name, "a number")),
        }
    }

    fn probability(&mut self, name: &str, default: Option<f64>) -> Result<f64, String> {
        let probability = self.float(name, default)?;
        if (0.0..=1.0).contains(&probability) {
            Ok(probability)
        } else {
            Err(self.missing(name, "a number from 0 to 1"))
        }
    }

    fn count(&mut self, name: &str, most: i64) -> Result<usize, String> {
        let count = usize::try_from(self.int(name, None)?).ok();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        count
            .filter(|count| *count <= most)
            .ok_or_else(|| self.missing(name, &format!("a number from 0 to {most}")))
    }

    /// The number of decimal places; two unless it is said.
    fn decimals(&mut self) -> Result<u8, String> {
        match self.take_named("decimals") {
            None => Ok(2),
            Some(Expr::Int(n @ 0..=9)) => Ok(u8::try_from(*n).unwrap_or_default()),
            Some(_) => Err(self.missing("decimals", "a number from 0 to 9")),
        }
    }

    fn expression(&mut self, name: &str) -> Result<&'a Expr, String> {
        self.take(name).ok_or_else(|| self.missing(name, "an expression"))
    }

    fn reference(&mut self, name: &str) -> Result<&'a str, String> {
        match self.take(name) {
            Some(Expr::Reference(path)) => Ok(path),
            _ => Err(self.missing(name, "a $reference")),
        }
    }

    fn timestamp(&mut self) -> Compiled {
        let expected = "'ms', 's' or 'iso'";
        let (format, shape) = match self.take_named("format").map(literal_json) {
            None => (TimeFormat::Milliseconds, Shape::Number),
            Some(Some(text)) => match text.as_str() {
                "\"ms\"" => (TimeFormat::Milliseconds, Shape::Number),
                "\"s\"" => (TimeFormat::Seconds, Shape::Number),
                "\"iso\"" => (TimeFormat::Iso, Shape::Scalar),
                _ => return Err(self.missing("format", expected)),
            },
            Some(None) => return Err(self.missing("format", expected)),
        };
        let jitter_ms = match self.take_named("jitter") {
            None => 0,
            Some(Expr::Int(n @ 0..)) => n.unsigned_abs(),
            Some(_) => return Err(self.missing("jitter", "milliseconds")),
        };
        Ok((Node::Time { format, jitter_ms }, shape))
    }

    fn finish(self) -> Result<(), String> {
        let name = self.name;
        match (self.positional, self.named.first().and_then(|a| a.label.as_ref())) {
            ([], None) => Ok(()),
            (_, Some(Label::Name(unknown))) => Err(format!("{name} has no argument {unknown}")),
            _ => Err(format!("{name} has too many arguments")),
        }
    }
}
