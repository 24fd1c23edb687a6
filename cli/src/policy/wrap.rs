//! In: text of any length. Out: lines that fit a terminal.

/// Columns of a line.
const WIDTH: usize = 100;

/// Adds `text` behind `label`, which stands `indent` columns from the left; text begins at column `column`, on this
/// and on further lines. A word that is longer than a line stays whole.
pub(super) fn labelled(out: &mut String, indent: usize, label: &str, column: usize, text: &str) {
    let mut line = format!("{:indent$}{label}", "");
    let pad = column.saturating_sub(line.chars().count()).max(usize::from(!label.is_empty()));
    line.push_str(&" ".repeat(pad));
    let mut fresh = true;
    for word in text.split_whitespace() {
        if !fresh && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = " ".repeat(column);
            fresh = true;
        }
        if !fresh {
            line.push(' ');
        }
        line.push_str(word);
        fresh = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hang_below_the_text() {
        let mut out = String::new();
        labelled(&mut out, 2, "label", 10, &"word ".repeat(40));
        let lines: Vec<_> = out.lines().collect();
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= WIDTH), "{out}");
        assert!(lines[0].starts_with("  label   word") && lines[1].starts_with("          word"), "{out}");
    }
}
