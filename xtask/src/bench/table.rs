//! Input: rows and what was measured.
//! Output: a table on stdout, and whether a target was missed.

use super::figures::Figures;
use super::rows::Row;

/// Prints the table; true if a target was missed or a row could not be measured.
pub fn print(rows: &[Row], figures: &Figures) -> bool {
    println!("| row | | bare | added | at most | peer |");
    println!("|---|---|---:|---:|---:|---:|");
    let mut missed = false;
    for row in rows {
        let (line, met) = line(row, figures);
        missed |= !met;
        println!("{line}");
    }
    missed
}

fn line(row: &Row, figures: &Figures) -> (String, bool) {
    let number = |number: Option<u64>| number.map_or_else(String::new, |number| grouped(number as i64));
    let Some(value) = figures.of(row) else {
        return (format!("| {} | {} | | not measured | | |", row.name, row.title), false);
    };
    let met = row.target.is_none_or(|target| value.added <= target as i64);
    let mark = if met { "" } else { " (missed)" };
    let line = format!(
        "| {} | {} | {} | {}{mark} | {} | {} |",
        row.name,
        row.title,
        number(value.bare),
        grouped(value.added),
        number(row.target),
        number(row.peer)
    );
    (line, met)
}

/// With commas between thousands.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::super::policies::Set;
    use super::super::rows::{Figure, Row};
    use super::{Figures, grouped, line};

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, -1_234_567].map(grouped), ["0", "999", "1,000", "-1,234,567"]);
    }

    #[test]
    fn a_missed_target_is_marked() {
        let figure = Figure::Added { operation: "getpid", count: 1 };
        let row = Row { name: "g", title: "t", set: Set::Base, figure, target: Some(9), peer: None };
        let mut figures = Figures::default();
        assert!(!line(&row, &figures).1, "what was not measured is not met");
        figures.line("op bare getpid 300");
        figures.line("op base getpid 310");
        assert_eq!(line(&row, &figures), ("| g | t | 300 | 10 (missed) | 9 |  |".to_owned(), false));
        figures.line("op base getpid 309");
        assert!(line(&row, &figures).1);
    }
}
