//! What a consumer makes of a topic, beside what the server has.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::harness::{Cell, Event, Row};

/// A table as a consumer has it.
#[derive(Debug, Default)]
struct Rows {
    /// The columns of the key, as the last record had them.
    columns: Vec<String>,
    keyed: HashMap<Vec<Cell>, Row>,
    /// The rows of a table without a key.
    bag: HashMap<Row, i64>,
}

/// Tables rebuilt from a topic.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    tables: BTreeMap<String, Rows>,
    /// Rows on their way to another key.
    moved: HashMap<(String, Row), Row>,
}

impl Tables {
    /// What `events` make of nothing.
    pub(crate) fn of(events: &[Event]) -> Self {
        let mut tables = Self::default();
        events.iter().for_each(|event| tables.apply(event));
        tables
    }

    /// One table, with these of its columns.
    pub(crate) fn only(&self, table: &str, columns: &[&str]) -> Self {
        let mut only = Self::default();
        let Some(rows) = self.tables.get(table) else { return only };
        let cut = |row: &Row| -> Row {
            let wanted = row.iter().filter(|(name, _)| columns.contains(&name.as_str()));
            wanted.map(|(name, cell)| (name.clone(), cell.clone())).collect()
        };
        let keyed = rows.keyed.iter().map(|(key, row)| (key.clone(), cut(row))).collect();
        let kept = Rows { columns: rows.columns.clone(), keyed, bag: HashMap::new() };
        only.tables.insert(table.to_owned(), kept);
        only
    }

    fn apply(&mut self, event: &Event) {
        if event.op == "m" || event.status.is_some() {
            return;
        }
        let rows = self.tables.entry(event.topic.clone()).or_default();
        let Some(key) = &event.key else {
            return rows.apply_without_key(event);
        };
        if !rows.columns.iter().eq(key.keys()) {
            rows.columns = key.keys().cloned().collect();
            let all = std::mem::take(&mut rows.keyed);
            for row in all.into_values() {
                let place = rows.columns.iter().map(|name| row[name].clone()).collect();
                rows.keyed.insert(place, row);
            }
        }
        let place: Vec<Cell> = key.values().cloned().collect();
        match event.op.as_str() {
            "" | "d" => {
                let gone = rows.keyed.remove(&place);
                if let (Some(gone), Some(other)) = (gone, &event.other) {
                    self.moved.insert((event.topic.clone(), other.clone()), gone);
                }
            }
            _ => {
                let mut row = event.after.clone().unwrap();
                let moved = self.moved.get(&(event.topic.clone(), key.clone()));
                let moved = moved.filter(|_| event.other.is_some());
                let here = rows.keyed.get(&place);
                for (name, cell) in row.iter_mut().filter(|(_, cell)| **cell == Cell::Unchanged) {
                    let known = [moved, here].into_iter().flatten().filter_map(|row| row.get(name));
                    let mut known = known.filter(|known| **known != Cell::Unchanged);
                    *cell = known.next().cloned().unwrap_or(Cell::Unchanged);
                }
                rows.keyed.insert(place, row);
            }
        }
    }

    /// How the table differs from what `select` says; nothing if it does not.
    pub(crate) async fn differences(
        &self,
        table: &str,
        client: &Client,
        select: &str,
    ) -> Vec<String> {
        let mut balance: BTreeMap<Row, i64> = BTreeMap::new();
        for row in rows_of(client, select).await {
            *balance.entry(row).or_default() += 1;
        }
        if let Some(rows) = self.tables.get(table) {
            let bag = rows.bag.iter().map(|(row, times)| (row, *times));
            for (row, times) in rows.keyed.values().map(|row| (row, 1)).chain(bag) {
                *balance.entry(row.clone()).or_default() -= times;
            }
        }
        let wrong = balance.into_iter().filter(|(_, times)| *times != 0);
        wrong.map(|(row, times)| format!("{table}: {times:+} {}", short(&row))).collect()
    }
}

impl Rows {
    fn apply_without_key(&mut self, event: &Event) {
        match event.op.as_str() {
            "t" => {
                self.keyed.clear();
                self.bag.clear();
            }
            "r" | "c" | "u" | "d" => {
                for (row, times) in [(&event.before, -1), (&event.after, 1)] {
                    if let Some(row) = row {
                        *self.bag.entry(row.clone()).or_default() += times;
                    }
                }
            }
            _ => {}
        }
    }
}

fn short(row: &Row) -> String {
    let cell = |cell: &Cell| match cell {
        Cell::Text(text) if text.len() > 40 => {
            let head: String = text.chars().take(30).collect();
            format!("{head:?}... of {}", text.len())
        }
        other => format!("{other:?}"),
    };
    let pairs: Vec<_> = row.iter().map(|(name, value)| format!("{name}={}", cell(value))).collect();
    pairs.join(" ")
}

/// What the server answers, as text.
pub(crate) async fn rows_of(client: &Client, select: &str) -> Vec<Row> {
    let messages = client.simple_query(select).await.unwrap();
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| {
        let columns = row.columns().iter().enumerate();
        columns
            .map(|(n, column)| {
                let cell = row.get(n).map_or(Cell::Null, |text| Cell::Text(text.to_owned()));
                (column.name().to_owned(), cell)
            })
            .collect()
    })
    .collect()
}

/// Fails if `tables` differ from the server's.
#[track_caller]
pub(crate) fn same(what: &str, wrong: &[String]) {
    let first: Vec<_> = wrong.iter().take(12).collect();
    assert!(wrong.is_empty(), "{what}: {} differences (+: missing): {first:#?}", wrong.len());
}
