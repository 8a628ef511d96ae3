//! What lines mean, and where the wrong ones are wrong.

use super::*;

fn literal(text: &str, quoted: bool, position: usize) -> Literal {
    Literal { text: text.to_string(), quoted, position }
}

/// Field, text of the value and whether it was quoted.
fn assigned(fields: &[Assignment]) -> Vec<(&str, &str, bool)> {
    fields.iter().map(|a| (a.field.as_str(), a.value.text.as_str(), a.value.quoted)).collect()
}

fn conditioned(conditions: &[Condition]) -> Vec<(&str, Operator, &str)> {
    conditions.iter().map(|c| (c.field.as_str(), c.operator, c.value.text.as_str())).collect()
}

fn fields_of(line: &str) -> Vec<Assignment> {
    match parse(line) {
        Ok(Command::Add { fields, .. } | Command::AddCollection { fields, .. }) => fields,
        other => panic!("{line}: {other:?}"),
    }
}

fn conditions_of(line: &str) -> Vec<Condition> {
    match parse(line) {
        Ok(Command::Search { conditions, .. } | Command::Remove { conditions, .. }) => conditions,
        other => panic!("{line}: {other:?}"),
    }
}

fn update_of(line: &str) -> (Vec<Condition>, Vec<Assignment>) {
    match parse(line) {
        Ok(Command::Update { collection, conditions, changes }) => {
            assert_eq!(collection, "users");
            (conditions, changes)
        }
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_lines_of_the_seed_are_understood() {
    let fields = fields_of("addcol users *email=str,name=str,*age=int");
    assert_eq!(
        assigned(&fields),
        [("*email", "str", false), ("name", "str", false), ("*age", "int", false)]
    );
    let fields = fields_of("add users email=a name=a age=18");
    assert_eq!(
        assigned(&fields),
        [("email", "a", false), ("name", "a", false), ("age", "18", false)]
    );
    assert_eq!(fields[2].value, literal("18", false, 29));
    let conditions = conditions_of("search users _id=2dc694b9-ead6-4805-9cfb-14fb00c47f1a");
    assert_eq!(
        conditioned(&conditions),
        [("_id", Operator::Equal, "2dc694b9-ead6-4805-9cfb-14fb00c47f1a")]
    );
    let conditions = conditions_of("search users age>10 age<20");
    assert_eq!(
        conditioned(&conditions),
        [("age", Operator::Greater, "10"), ("age", Operator::Less, "20")]
    );
    let (conditions, changes) = update_of("update users _id=2dc694b9 email=c,age=19");
    assert_eq!(conditioned(&conditions), [("_id", Operator::Equal, "2dc694b9")]);
    assert_eq!(assigned(&changes), [("email", "c", false), ("age", "19", false)]);
    assert_eq!(parse("exit"), Ok(Command::Exit));
}

#[test]
fn blanks_commas_and_quotes_divide_and_protect() {
    let fields =
        fields_of(r#"  add  users  a=1,b=2 , c=3   d='x, y' e="say \"hi\"\n" f=O'Brien g="#);
    assert_eq!(
        assigned(&fields),
        [
            ("a", "1", false),
            ("b", "2", false),
            ("c", "3", false),
            ("d", "x, y", true),
            ("e", "say \"hi\"\n", true),
            ("f", "O'Brien", false),
            ("g", "", false),
        ]
    );
    let fields = fields_of(r#"add users tags=["a b","c,]"],home={"city": "x, y"} "full name"=z"#);
    assert_eq!(
        assigned(&fields),
        [
            ("tags", r#"["a b","c,]"]"#, false),
            ("home", r#"{"city": "x, y"}"#, false),
            ("full name", "z", false)
        ]
    );
    let fields = fields_of("add users a = 1 b= c =2");
    assert_eq!(assigned(&fields), [("a", "1", false), ("b", "", false), ("c", "2", false)]);
}

#[test]
fn conditions_have_six_operators() {
    let conditions = conditions_of("search users a=1 b!=2 c>3 d>=4 e<5 f<=6 g >= 7");
    let operators: Vec<Operator> = conditions.iter().map(|c| c.operator).collect();
    use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    assert_eq!(
        operators,
        [Equal, NotEqual, Greater, GreaterOrEqual, Less, LessOrEqual, GreaterOrEqual]
    );
    assert_eq!(conditions[6].value.text, "7");
    assert!(conditions_of("search users").is_empty());
    assert!(conditions_of("search users *").is_empty());
    assert!(conditions_of("remove users * ").is_empty());
}

#[test]
fn set_divides_conditions_from_changes() {
    for line in [
        "update users a=1 b>2 c=3,d=4",
        "update users a=1 b>2 set c=3,d=4",
        "update users a=1 b>2 set c=3 d=4",
        "update users a = 1 b > 2 set c = 3, d = 4",
    ] {
        let (conditions, changes) = update_of(line);
        assert_eq!(
            conditioned(&conditions),
            [("a", Operator::Equal, "1"), ("b", Operator::Greater, "2")],
            "{line}"
        );
        assert_eq!(assigned(&changes), [("c", "3", false), ("d", "4", false)], "{line}");
    }
    let (conditions, changes) = update_of("update users set a=1");
    assert_eq!((conditions.len(), assigned(&changes)), (0, vec![("a", "1", false)]));
    let (conditions, _) = update_of("update users * a=1");
    assert!(conditions.is_empty());
    let (conditions, changes) = update_of(r#"update users name="a set b" name='c d'"#);
    assert_eq!(conditioned(&conditions), [("name", Operator::Equal, "a set b")]);
    assert_eq!(assigned(&changes), [("name", "c d", true)]);
}

#[test]
fn keys_and_values_stand_alone() {
    assert_eq!(parse("get k"), Ok(Command::Get { key: "k".into() }));
    assert_eq!(parse("lee 'a key'"), Ok(Command::Get { key: "a key".into() }));
    assert_eq!(
        parse(r#"put k {"a": [1, 2]}"#),
        Ok(Command::Put { key: "k".into(), value: literal(r#"{"a": [1, 2]}"#, false, 6) })
    );
    assert_eq!(
        parse("escribe k a,b"),
        Ok(Command::Put { key: "k".into(), value: literal("a,b", false, 10) })
    );
    assert_eq!(
        parse("escribe_hash k \"1\""),
        Ok(Command::Swap { key: "k".into(), value: literal("1", true, 15) })
    );
    assert_eq!(
        parse("cas k null 1"),
        Ok(Command::Cas {
            key: "k".into(),
            expected: literal("null", false, 6),
            value: literal("1", false, 11)
        })
    );
}

#[test]
fn lists_are_requests_and_blank_lines_nothing() {
    assert_eq!(
        parse(r#" ["search","users",{}] "#),
        Ok(Command::Raw(r#" ["search","users",{}] "#.into()))
    );
    for line in ["", "   ", "# a comment", "\t# too"] {
        assert_eq!(parse(line), Ok(Command::Nothing), "{line:?}");
    }
    assert_eq!(parse("desc"), Ok(Command::Describe { collection: None }));
    assert_eq!(parse("desc users"), Ok(Command::Describe { collection: Some("users".into()) }));
}

#[test]
fn errors_point_at_the_character() {
    let cases = [
        ("serch users", 0, "unknown command \"serch\""),
        ("  serch users", 2, "unknown command"),
        ("addcol", 6, "collection's name is missing"),
        ("addcol users a=text", 15, "\"text\" is no type; known: str, int"),
        ("add users", 9, "field=value is missing"),
        ("add users email a", 15, "expected = after the field's name"),
        ("add users email=a name", 22, "expected = after the field's name"),
        ("add users =a", 10, "a field's name is missing"),
        ("add users age>18", 13, "expected ="),
        ("add users a=1,", 14, "missing after the comma"),
        ("add users a=1,,b=2", 14, "a field's name is missing"),
        ("add users a=1 a=2", 14, "a is assigned twice"),
        ("add users a=\"x", 12, "the quote \" is not closed"),
        ("add users a=\"x\"y", 15, "expected a space or the end"),
        ("add users a=[1,2", 12, "the bracket [ is not closed"),
        ("añade users", 0, "unknown command \"añade\""),
        ("add ñandús é=1 x", 16, "expected ="),
        ("search users age", 16, "expected = != > >= < or <="),
        ("search users age=>1", 17, "unknown operator"),
        ("search users age==1", 17, "unknown operator"),
        ("search users a=1,b=2", 16, "divided by spaces"),
        ("search users * a=1", 14, "expected ="),
        ("remove users", 12, "a condition is missing; * means all"),
        ("update users", 12, "conditions and changes are missing"),
        ("update users a=1", 12, "update users set"),
        ("update users a=1 set", 20, "the changes are missing"),
        ("update users a=1 b", 18, "expected ="),
        ("update users a b=1", 14, "expected ="),
        ("get", 3, "a key is missing"),
        ("put k", 5, "a value is missing"),
        ("put k a b", 8, "the command should end here"),
        ("cas k 1", 7, "the new value is missing"),
        ("status now", 7, "the command should end here"),
    ];
    for (line, position, part) in cases {
        let error = parse(line).expect_err(line);
        assert!(error.message.contains(part), "{line}: {}", error.message);
        assert_eq!(error.position, position, "{line}: {}", error.message);
    }
}

#[test]
fn no_line_makes_it_panic() {
    // Every string of a few characters that mean something, and all lines cut short.
    let alphabet =
        ["update", "set", " ", "a", "=", ">", "!", ",", "\"", "'", "[", "{", "}", "\\", "é", "*"];
    let count = alphabet.len();
    for number in 0..count.pow(4) {
        let mut line = String::from("update u ");
        let mut rest = number;
        for _ in 0..4 {
            line.push_str(alphabet[rest % count]);
            rest /= count;
        }
        for line in [line.as_str(), &line["update u ".len()..]] {
            if let Err(error) = parse(line) {
                assert!(error.position <= line.chars().count(), "{line:?}: {error:?}");
            }
        }
    }
}
