//! The features of the extension are the majors that are built, tested and asked for by gates.

use super::violation::Violation;

pub fn check(manifest: &str, majors: &[u16]) -> Vec<Violation> {
    let feature = |line: &str| line.strip_prefix("pg")?.split_once(" = ")?.0.parse::<u16>().ok();
    let lines = manifest.lines().enumerate();
    let found: Vec<(usize, u16)> =
        lines.filter_map(|(at, line)| Some((at + 1, feature(line)?))).collect();
    let unknown = found.iter().filter(|(_, major)| !majors.contains(major)).map(|(line, major)| {
        violation(*line, format!("{major} is not in testbed's MAJORS, so nothing is built for it"))
    });
    let missing = majors.iter().filter(|major| !found.iter().any(|(_, it)| it == *major));
    let missing = missing.map(|major| violation(1, format!("the feature pg{major} is missing")));
    unknown.chain(missing).collect()
}

fn violation(line: usize, rule: String) -> Violation {
    Violation { path: "Cargo.toml".to_owned(), line, rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_without_its_major_and_a_major_without_its_feature_are_refused() {
        let manifest = "[features]\npg13 = [\"pgrx/pg13\"]\npg19 = [\"pgrx/pg19\"]\n";
        let rules = |majors: &[u16]| -> Vec<String> {
            check(manifest, majors).into_iter().map(|it| it.to_string()).collect()
        };
        assert_eq!(rules(&[13, 19]), [""; 0]);
        assert_eq!(
            rules(&[13, 14]),
            [
                "Cargo.toml:3: 19 is not in testbed's MAJORS, so nothing is built for it",
                "Cargo.toml:1: the feature pg14 is missing",
            ]
        );
    }
}
