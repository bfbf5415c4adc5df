//! The server's geometric types, and PostGIS's `geometry` and `geography`.
//!
//! A point is shown by its coordinates and as WKB (OGC's well-known binary, little endian); a box, a
//! segment, a path and a polygon as WKB with the type's name beside it, since WKB knows polygons and
//! lines alone; a circle and an endless line, which WKB can't hold, by their numbers. PostGIS gives
//! EWKB, and its reference system is shown beside it.
//!
//! Samples verify the server's own types. PostGIS's are after Debezium's sources of version 3.7. All
//! but points and geographies take nulls whatever the column says.

use std::sync::Arc;

use bytes::Bytes;
use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::value::{Struct, Value};
use towpath_sdk::{Error, Result, Text};

use super::binary::from_hex;
use super::form::{Form, named};
use super::number::float;

const LINE_STRING: u32 = 2;
const POLYGON: u32 = 3;
/// In EWKB's type: a reference system follows.
const HAS_SRID: u32 = 0x2000_0000;

/// A geometric type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Point,
    Line,
    Segment,
    Box,
    Path,
    Polygon,
    Circle,
    /// PostGIS's plane.
    Geometry,
    /// PostGIS's sphere.
    Geography,
}

/// The mapping of a geometric type.
#[derive(Debug)]
pub(super) struct ShapeForm {
    shape: Shape,
    schema: SchemaRef,
}

impl ShapeForm {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, schema: Arc::new(schema(shape)) }
    }

    fn structure(&self, values: Vec<Value>) -> Result<Value> {
        Struct::new(self.schema.clone(), values).map(Value::Struct)
    }

    /// What WKB does not say of the value goes into the extensions.
    fn wkb(&self, wkb: Vec<u8>, extensions: &[(&'static str, &'static str)]) -> Result<Value> {
        let text = |text: &'static str| Value::String(Text::from_static(text));
        let extensions = extensions.iter().map(|(key, value)| (text(key), text(value))).collect();
        self.structure(vec![Value::Bytes(wkb.into()), Value::Null, Value::Map(extensions)])
    }

    fn point(schema: SchemaRef, [x, y]: [f64; 2]) -> Result<Value> {
        let mut wkb = header(1, 2 * size_of::<f64>());
        put(&mut wkb, &[[x, y]]);
        let wkb = Value::Bytes(wkb.into());
        let values = vec![Value::Float64(x), Value::Float64(y), wkb, Value::Null];
        Struct::new(schema, values).map(Value::Struct)
    }

    fn circle(&self, [x, y, radius]: [f64; 3]) -> Result<Value> {
        let [center, _] = self.schema.fields() else {
            return Err(Error::internal("a circle's schema has a center and a radius"));
        };
        let center = Self::point(center.schema.clone(), [x, y])?;
        self.structure(vec![center, Value::Float64(radius)])
    }

    fn ewkb(&self, text: &[u8]) -> Result<Value> {
        let wrong = || Error::data("not EWKB in hexadecimal");
        let ewkb = from_hex(text).filter(|ewkb| ewkb.len() >= 9).ok_or_else(wrong)?;
        let Some(([order, kind @ ..], rest)) = ewkb.split_first_chunk::<5>() else {
            return Err(wrong());
        };
        let number = if *order == 0 { u32::from_be_bytes } else { u32::from_le_bytes };
        let srid = match rest.first_chunk::<4>() {
            Some(srid) if number(*kind) & HAS_SRID != 0 => {
                Value::Int32(number(*srid).cast_signed())
            }
            _ => Value::Null,
        };
        let mut values = vec![Value::Bytes(ewkb.into()), srid];
        if self.shape == Shape::Geometry {
            values.push(Value::Null);
        }
        self.structure(values)
    }
}

impl Form for ShapeForm {
    fn schema(&self) -> Schema {
        Schema::clone(&self.schema)
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        let points = |least: usize| {
            points(text)
                .filter(|points| points.len() >= least)
                .ok_or_else(|| Error::data(format!("not the points of a {}", native(self.shape))))
        };
        match self.shape {
            Shape::Point => match points(1)?[..] {
                [point] => Self::point(self.schema.clone(), point),
                _ => Err(Error::data("not the coordinates of a point")),
            },
            Shape::Line => {
                let [a, b, c] = numbers(text)?;
                self.structure([a, b, c].map(Value::Float64).to_vec())
            }
            Shape::Circle => self.circle(numbers(text)?),
            Shape::Segment => self.wkb(line_string(&points(2)?), &[("type", "lseg")]),
            Shape::Box => match points(2)?[..] {
                [[x1, y1], [x2, y2]] => {
                    let ring = [[x1, y1], [x1, y2], [x2, y2], [x2, y1], [x1, y1]];
                    self.wkb(polygon(&ring), &[("type", "box")])
                }
                _ => Err(Error::data("not two corners of a box")),
            },
            Shape::Path => {
                let closed = if text.starts_with(b"(") { "true" } else { "false" };
                self.wkb(line_string(&points(1)?), &[("type", "path"), ("closed", closed)])
            }
            Shape::Polygon => {
                let mut ring = points(1)?;
                if let [first, .., last] = ring[..]
                    && first != last
                {
                    ring.push(first);
                }
                self.wkb(polygon(&ring), &[("type", "polygon")])
            }
            Shape::Geometry | Shape::Geography => self.ewkb(text),
        }
    }

    fn bind(&self, schema: &SchemaRef) -> Option<Arc<dyn Form>> {
        Some(Arc::new(Self { shape: self.shape, schema: schema.clone() }))
    }

    fn zero(&self) -> Value {
        let zero: &[u8] = match self.shape {
            Shape::Point => b"(0,0)",
            Shape::Line => b"{0,1,0}",
            Shape::Circle => b"<(0,0),0>",
            Shape::Segment => b"[(0,0),(1,0)]",
            Shape::Box => b"(0,0),(1,1)",
            Shape::Polygon => b"((0,0),(1,0),(0,1))",
            // It does not say whether it is closed.
            Shape::Path => {
                let line = line_string(&[[0.0, 0.0], [1.0, 0.0]]);
                return self.wkb(line, &[("type", "path")]).unwrap_or_default();
            }
            // An empty collection.
            Shape::Geometry | Shape::Geography => b"010700000000000000",
        };
        self.decode(&Bytes::from_static(zero)).unwrap_or_default()
    }
}

/// The server's name of a type.
fn native(shape: Shape) -> &'static str {
    match shape {
        Shape::Point => "point",
        Shape::Line => "line",
        Shape::Segment => "lseg",
        Shape::Box => "box",
        Shape::Path => "path",
        Shape::Polygon => "polygon",
        Shape::Circle => "circle",
        Shape::Geometry => "geometry",
        Shape::Geography => "geography",
    }
}

fn schema(shape: Shape) -> Schema {
    let required = |kind| Arc::new(Schema::new(kind));
    let optional = |kind| Arc::new(Schema::new(kind).optional());
    let of = |name, doc: &str, fields: Vec<(&str, SchemaRef)>| {
        let mut schema = named(Schema::structure(fields).kind, name);
        schema.doc = Some(doc.into());
        schema
    };
    let binary = || vec![("wkb", required(Kind::Bytes)), ("srid", optional(Kind::Int32))];
    match shape {
        Shape::Point => of(
            "io.debezium.data.geometry.Point",
            "Geometry (POINT)",
            vec![
                ("x", required(Kind::Float64)),
                ("y", required(Kind::Float64)),
                ("wkb", optional(Kind::Bytes)),
                ("srid", optional(Kind::Int32)),
            ],
        ),
        Shape::Line => of(
            "io.debezium.data.geometry.Line",
            "Geometry (LINE)",
            ["a", "b", "c"].map(|name| (name, required(Kind::Float64))).to_vec(),
        )
        .optional(),
        Shape::Circle => of(
            "io.debezium.data.geometry.Circle",
            "Geometry (CIRCLE)",
            vec![
                ("center", Arc::new(self::schema(Shape::Point))),
                ("radius", required(Kind::Float64)),
            ],
        )
        .optional(),
        Shape::Geography => of("io.debezium.data.geometry.Geography", "Geography", binary()),
        Shape::Segment | Shape::Box | Shape::Path | Shape::Polygon | Shape::Geometry => {
            let mut fields = binary();
            let text = required(Kind::String);
            fields.push(("extensions", optional(Kind::Map(text.clone(), text))));
            of("io.debezium.data.geometry.Geometry", "Geometry", fields).versioned(2).optional()
        }
    }
}

/// All numbers between brackets, parentheses, angles, braces and commas.
fn coordinates(text: &[u8]) -> impl Iterator<Item = Option<f64>> {
    text.split(|byte| b"()[]{}<>,".contains(byte))
        .filter(|part| !part.is_empty())
        .map(|part| float(part).ok())
}

/// So many numbers and no more.
fn numbers<const N: usize>(text: &[u8]) -> Result<[f64; N]> {
    let wrong = || Error::data(format!("not the {N} numbers of a shape"));
    let found: Option<Vec<f64>> = coordinates(text).collect();
    found.and_then(|found| found.try_into().ok()).ok_or_else(wrong)
}

fn points(text: &[u8]) -> Option<Vec<[f64; 2]>> {
    let mut coordinates = coordinates(text);
    let mut points = Vec::new();
    while let Some(x) = coordinates.next() {
        points.push([x?, coordinates.next()??]);
    }
    Some(points)
}

/// The beginning of WKB, with room for `more` bytes.
fn header(kind: u32, more: usize) -> Vec<u8> {
    let mut wkb = Vec::with_capacity(5 + more);
    wkb.push(1);
    wkb.extend_from_slice(&kind.to_le_bytes());
    wkb
}

fn put(wkb: &mut Vec<u8>, points: &[[f64; 2]]) {
    for number in points.as_flattened() {
        wkb.extend_from_slice(&number.to_le_bytes());
    }
}

/// A count. A value of the server's has less than 1 GB.
fn put_count(wkb: &mut Vec<u8>, count: usize) {
    wkb.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn line_string(points: &[[f64; 2]]) -> Vec<u8> {
    let mut wkb = header(LINE_STRING, 4 + size_of_val(points));
    put_count(&mut wkb, points.len());
    put(&mut wkb, points);
    wkb
}

/// A polygon of one ring.
fn polygon(ring: &[[f64; 2]]) -> Vec<u8> {
    let mut wkb = header(POLYGON, 8 + size_of_val(ring));
    put_count(&mut wkb, 1);
    put_count(&mut wkb, ring.len());
    put(&mut wkb, ring);
    wkb
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn decode(shape: Shape, text: &str) -> Option<Struct> {
        match ShapeForm::new(shape).decode(&Bytes::copy_from_slice(text.as_bytes())) {
            Ok(Value::Struct(fields)) => Some(fields),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }

    fn wkb(fields: &Struct) -> Vec<u8> {
        match fields.get("wkb") {
            Some(Value::Bytes(wkb)) => wkb.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// WKB of one sequence of points.
    fn expected(kind: u32, counts: &[u32], points: &[[f64; 2]]) -> Vec<u8> {
        let mut wkb = vec![1];
        wkb.extend(kind.to_le_bytes());
        wkb.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
        wkb.extend(points.iter().flatten().flat_map(|number| number.to_le_bytes()));
        wkb
    }

    #[test]
    fn a_point_has_coordinates_and_wkb() {
        let point = decode(Shape::Point, "(1.5,2.5)").unwrap();
        assert_eq!(STANDARD.encode(wkb(&point)), "AQEAAAAAAAAAAAD4PwAAAAAAAARA");
        assert_eq!(point.get("x"), Some(&Value::Float64(1.5)));
        assert_eq!(point.get("y"), Some(&Value::Float64(2.5)));
        assert_eq!(point.get("srid"), Some(&Value::Null));
        assert!(!point.schema().optional);
        let endless = decode(Shape::Point, "(Infinity,-1e+300)").unwrap();
        assert_eq!(endless.get("x"), Some(&Value::Float64(f64::INFINITY)));
        for wrong in ["", "()", "(1)", "(1,2,3)", "(1,2),(3,4)", "(a,b)"] {
            assert_eq!(decode(Shape::Point, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shapes_of_points_are_wkb_with_their_type() {
        for (shape, text, kind, counts, points, extensions) in [
            (
                Shape::Segment,
                "[(1,2),(3,4)]",
                2,
                &[2][..],
                vec![[1.0, 2.0], [3.0, 4.0]],
                "type=lseg",
            ),
            (
                Shape::Box,
                "(3,4),(1,2)",
                3,
                &[1, 5],
                vec![[3.0, 4.0], [3.0, 2.0], [1.0, 2.0], [1.0, 4.0], [3.0, 4.0]],
                "type=box",
            ),
            (
                Shape::Path,
                "[(0,0),(1,1)]",
                2,
                &[2],
                vec![[0.0, 0.0], [1.0, 1.0]],
                "type=path closed=false",
            ),
            (
                Shape::Path,
                "((0,0),(1,1))",
                2,
                &[2],
                vec![[0.0, 0.0], [1.0, 1.0]],
                "type=path closed=true",
            ),
            (
                Shape::Polygon,
                "((0,0),(1,0),(0,1))",
                3,
                &[1, 4],
                vec![[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]],
                "type=polygon",
            ),
        ] {
            let fields = decode(shape, text).unwrap();
            assert_eq!(wkb(&fields), expected(kind, counts, &points), "{text}");
            let Some(Value::Map(entries)) = fields.get("extensions") else { panic!("{text}") };
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| {
                    format!("{}={}", key.as_str().unwrap(), value.as_str().unwrap())
                })
                .collect();
            assert_eq!(entries.join(" "), extensions);
            let schema = fields.schema();
            assert_eq!(schema.name.as_deref(), Some("io.debezium.data.geometry.Geometry"));
            assert_eq!((schema.version, schema.optional), (Some(2), true));
        }
        assert_eq!(decode(Shape::Box, "(3,4)"), None);
        assert_eq!(decode(Shape::Segment, "[(1,2),(3)]"), None);
    }

    #[test]
    fn circles_and_lines_are_numbers() {
        let circle = decode(Shape::Circle, "<(1,2),3.5>").unwrap();
        let Some(Value::Struct(center)) = circle.get("center") else { panic!() };
        assert_eq!(center.get("y"), Some(&Value::Float64(2.0)));
        assert!(Arc::ptr_eq(center.schema(), &circle.schema().field("center").unwrap().schema));
        assert_eq!(circle.get("radius"), Some(&Value::Float64(3.5)));
        let line = decode(Shape::Line, "{1,-2,0.5}").unwrap();
        assert_eq!(line.values(), [1.0, -2.0, 0.5].map(Value::Float64));
        assert_eq!(
            (decode(Shape::Circle, "<(1,2)>"), decode(Shape::Line, "{1,2,3,4}")),
            (None, None)
        );
    }

    #[test]
    fn postgis_gives_ewkb() {
        let hex = "0101000020E6100000000000000000F03F0000000000000040";
        let geometry = decode(Shape::Geometry, hex).unwrap();
        assert_eq!(geometry.get("srid"), Some(&Value::Int32(4326)));
        assert_eq!(geometry.get("extensions"), Some(&Value::Null));
        assert_eq!(wkb(&geometry), from_hex(hex.as_bytes()).unwrap());
        let geography =
            decode(Shape::Geography, "0020000001000010e63ff00000000000004000000000000000").unwrap();
        assert_eq!(geography.get("srid"), Some(&Value::Int32(4326)));
        assert_eq!(geography.values().len(), 2);
        let plain = decode(Shape::Geometry, "010700000000000000").unwrap();
        assert_eq!(plain.get("srid"), Some(&Value::Null));
        for wrong in ["", "01", "0101000020", "xx0700000000000000"] {
            assert_eq!(decode(Shape::Geometry, wrong), None, "{wrong}");
        }
    }
}
