use proptest::prelude::*;

use super::*;

fn of(kind: Kind, text: &str) -> String {
    String::from_utf8(masked(text.as_bytes(), kind, &Known::NOTHING).into_owned()).unwrap()
}

fn sql(text: &str) -> String {
    of(Kind::Sql, text)
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Only the secret is masked, whatever surrounds it.
#[test]
fn a_secret_is_masked_and_nothing_else() {
    for (text, expected) in [
        (
            "SELECT f('host=h password=s3 user=u', 1)",
            "SELECT f('host=h password=******** user=u', 1)",
        ),
        ("SELECT f('password = s3')", "SELECT f('password = ********')"),
        ("SELECT f('PassWord=s3')", "SELECT f('PassWord=********')"),
        (
            "SELECT f('host=h password=''it''''s'' user=u'), g('x')",
            "SELECT f('host=h password=''********'' user=u'), g('x')",
        ),
        (
            r"SELECT f('password=''it\''s \\'' user=u', 'x')",
            "SELECT f('password=''********'' user=u', 'x')",
        ),
        (
            r"SELECT f(E'password=\'it\\\'s\' user=u', 'x')",
            r"SELECT f(E'password=\'********\' user=u', 'x')",
        ),
        (
            "DO $$ BEGIN EXECUTE 'SELECT f(''password=''''a b'''' x=y'')'; GRANT a TO b; END $$",
            "DO $$ BEGIN EXECUTE 'SELECT f(''password=''''********'''' x=y'')'; GRANT a TO b; END $$",
        ),
        ("SELECT f($q$password=s3$q$, 'x')", "SELECT f($q$password=********$q$, 'x')"),
        ("SELECT f($q$password='a b'$q$, 'x')", "SELECT f($q$password='********'$q$, 'x')"),
        (
            r#"SELECT '{"c": "password=''a b'' host=h"}'"#,
            r#"SELECT '{"c": "password=''********'' host=h"}'"#,
        ),
        (
            r#"SELECT '{"password" : "a\"b", "x": 1}'"#,
            r#"SELECT '{"password" : "********", "x": 1}'"#,
        ),
        ("CREATE ROLE x PASSWORD 'it''s' LOGIN", "CREATE ROLE x PASSWORD '********' LOGIN"),
        (
            "CREATE USER MAPPING FOR a SERVER b OPTIONS (user 'u', password $q$s3$q$)",
            "CREATE USER MAPPING FOR a SERVER b OPTIONS (user 'u', password $q$********$q$)",
        ),
        ("f(password => 's3', x => 'y')", "f(password => '********', x => 'y')"),
        (
            "UPDATE t SET \"password\" = 's3', a = 'b'",
            "UPDATE t SET \"password\" = '********', a = 'b'",
        ),
        (
            "f('scram_client_key=k scram_server_key=l')",
            "f('scram_client_key=******** scram_server_key=********')",
        ),
        (
            "f('sslpassword=k oauth_client_secret=l x=y')",
            "f('sslpassword=******** oauth_client_secret=******** x=y')",
        ),
        (
            "parameters: $1 = 'n', $2 = 'password=''a b''', $3 = 't'",
            "parameters: $1 = 'n', $2 = 'password=''********''', $3 = 't'",
        ),
        (
            "SELECT 'user=it''s password=''a b'' x=y'",
            "SELECT 'user=it''s password=''********'' x=y'",
        ),
        ("SELECT 'password=ab''cd x=y', 'z'", "SELECT 'password=******** x=y', 'z'"),
        ("SELECT 'password=a(b x=y', 'z'", "SELECT 'password=******** x=y', 'z'"),
        (r"SELECT 'password=a\ b x=y'", "SELECT 'password=******** x=y'"),
        (
            r"SELECT E'\x70assword=s3 x=y', E'\160\x61ssword=s3', E'p\u0061ssword=\'a b\''",
            r"SELECT E'\x70assword=******** x=y', E'\160\x61ssword=********', E'p\u0061ssword=\'********\''",
        ),
        ("SELECT'password=''a b'' x=y'", "SELECT'password=''********'' x=y'"),
        ("-- it's\nSELECT 'password=''a b'' x=y'", "-- it's\nSELECT 'password=''********'' x=y'"),
        ("/* it's */ SELECT 'password=''a b'''", "/* it's */ SELECT 'password=''********'''"),
        (
            "SELECT 1 AS \"it's\", 'password=''a b'' x=y'",
            "SELECT 1 AS \"it's\", 'password=''********'' x=y'",
        ),
    ] {
        assert_eq!(sql(text), expected);
        assert_eq!(sql(expected), expected, "masked already");
    }
}

#[test]
fn the_secret_of_a_uri_is_masked() {
    for (text, expected) in [
        ("'postgresql://u:s3@h:5432/d'", "'postgresql://u:********@h:5432/d'"),
        ("'postgres://u:a@b@h/d?x=y'", "'postgres://u:********@h/d?x=y'"),
        ("'postgres://u:a/b@h/d'", "'postgres://u:********@h/d'"),
        ("'postgres://u@corp:s3@h/d'", "'postgres://u@corp:********@h/d'"),
        ("'postgres://u:12345@h/d'", "'postgres://u:********@h/d'"),
        ("'postgres://u:s3cret/d', 'x'", "'postgres://u:********', 'x'"),
        (
            "'postgresql://h/d?password=a(b&user=u', 'x'",
            "'postgresql://h/d?password=********&user=u', 'x'",
        ),
        ("'postgresql:///d?pass%77ord=a&x=y'", "'postgresql:///d?pass%77ord=********&x=y'"),
        ("'postgresql:///d?x=y&%70%61ssword=a'", "'postgresql:///d?x=y&%70%61ssword=********'"),
        ("'see https://u:s3@h/x now'", "'see https://u:********@h/x now'"),
        ("'postgres://mig:a\"SECRET@h/d', x", "'postgres://mig:********@h/d', x"),
        ("'postgres://mig:a SECRET@h', '@'", "'postgres://mig:********@h', '@'"),
    ] {
        assert_eq!(sql(text), expected);
    }
    for text in [
        "'postgres://h:5432/d?user=a@b'",
        "'postgres://h1:1,h2:2/d'",
        "'postgres://[::1]:5432/d'",
        "'postgres://u@h/d'",
        "http://h:80/a http://h:80/b@c",
        "http://h:x/",
    ] {
        assert_eq!(sql(text), text);
    }
}

/// Text outside of literals is code for PostgreSQL, and it is not masked.
#[test]
fn code_is_read_as_postgresql_reads_it() {
    for text in [
        "SELECT 1 AS \"password='\", ssn FROM people --'",
        "SELECT 1 AS \"/*password=' \", ssn FROM people -- '",
        "SELECT 1 AS \"a\"\"password='\", ssn FROM people --'",
        r"SELECT E'\x27, password=', ssn, ' --'",
        "SELECT 1--password='\n,ssn FROM people--'",
        "SELECT 1 WHERE password=2/**/UNION/**/TABLE/**/people;",
        "SELECT 1 WHERE password=2/**/UNION/**/TABLE/**/people; -- ok",
        "SELECT a.password=ssn FROM people",
        "DO $$ BEGIN PERFORM a[x://u::text/**/FROM/**/people/**/WHERE/**/@1]; END $$",
        "SELECT a$$$password=ssn/**/FROM/**/people",
        "SELECT a$$$password='/**/',ssn FROM people --'",
        "SELECT x://u:ssn@h FROM people",
        "SELECT '\\' password=', ssn FROM people --'",
        "DO $$ BEGIN EXECUTE password 'delete from people'; END $$",
        "EXECUTE options(password 'delete from people')",
        "SELECT a[\"password\":\"ssn\"] FROM people",
        "DO $$ BEGIN PERFORM 1 AS \"password='\", ssn FROM people; --'\nEND $$",
        "SELECT '%65' %e'\\'' , 'password=', ssn FROM people",
    ] {
        assert_eq!(sql(text), text);
    }
    for (text, expected) in [
        (
            "/* /* */ password=' */ SELECT ssn FROM people /*'*/;",
            "/* /* */ password='*********/ SELECT ssn FROM people /*'*/;",
        ),
        ("SELECT 'password='\n'SECRET', x", "SELECT 'password=********', x"),
        ("CREATE ROLE a PASSWORD E'x\\'y' LOGIN", "CREATE ROLE a PASSWORD E'********' LOGIN"),
        ("ALTER USER a PASSWORD U&'x' LOGIN", "ALTER USER a PASSWORD U&'********' LOGIN"),
        (
            "ALTER ROLE a ENCRYPTED PASSWORD /* it's */ 'x' LOGIN",
            "ALTER ROLE a ENCRYPTED PASSWORD /* it's */ '********' LOGIN",
        ),
        (
            "CREATE USER MAPPING FOR a SERVER b OPTIONS (\"password\" 'x', user 'u')",
            "CREATE USER MAPPING FOR a SERVER b OPTIONS (\"password\" '********', user 'u')",
        ),
        (
            "EXECUTE 'SELECT 1 WHERE password=2/**/UNION TABLE people'",
            "EXECUTE 'SELECT 1 WHERE password=********/**/UNION TABLE people'",
        ),
    ] {
        assert_eq!(sql(text), expected);
    }
    let old = "SELECT '\\', '' , ssn AS password='";
    assert_eq!(
        of(Kind::EscapedSql, "SELECT '\\' password=', ssn FROM people --'"),
        "SELECT '\\' password=', ssn FROM people --'"
    );
    assert_eq!(of(Kind::EscapedSql, old), old);
    assert_eq!(
        of(Kind::Text, "host=h password=x/**/UNION password=y(z)"),
        "host=h password=********/**/UNION password=********(z)"
    );
}

#[test]
fn a_known_secret_outside_of_literals_is_not_masked() {
    let mut known = Known::new(3);
    for secret in ["people", "/**/delete", "a;b", "f(x", "a\"b", "a--b", "a b"] {
        known.note(secret.as_bytes());
    }
    for text in [
        "SELECT * FROM people",
        "SELECT * FROM \"people\"",
        "SELECT 1=people",
        "DELETE FROM/**/people",
        "DO $$ BEGIN PERFORM 1=people; END $$",
        "SELECT 1 AS \"'\", 1=people, '",
        "EXECUTE '/**/delete'; EXECUTE 'a;b' 'f(x' 'a\"b' 'a--b' 'a b'",
    ] {
        assert_eq!(masked(text.as_bytes(), Kind::Sql, &known), text.as_bytes());
    }
    let context = b"SQL statement \"SELECT f('people') FROM people\"";
    let expected = b"SQL statement \"SELECT f('********') FROM people\"";
    let parts = Parts::quoted(context, &context_heads());
    assert_eq!(&*masked_parts(context, &parts, &known), expected);
    let text = "f($a$people$a$, 'people', E'people', 'x=people')";
    let expected = "f($a$********$a$, '********', E'********', 'x=********')";
    assert_eq!(masked(text.as_bytes(), Kind::Sql, &known), expected.as_bytes());
}

/// No part of a statement can hide another part.
#[test]
fn a_statement_cannot_hide_what_it_does() {
    for text in [
        "SELECT g('x') /* pgmig_extras.create_subscription */",
        "SELECT g('x') AS \"create_subscription(password=\", g('y')",
        "/* password= */ GRANT a TO b",
        "/* password=*/GRANT a TO b",
        "-- password=\nGRANT a TO b",
        "-- password='\nGRANT a TO b",
        "SELECT 'password=', g('x'), 'y'",
        "SELECT 'password='AS a, g('x'), 'y'",
        "SELECT 1 WHERE password=''AND g('x')",
        "SELECT 1 WHERE password=g('x')",
        "SELECT 1 WHERE password = g( 'x')",
        "DO $$ BEGIN PERFORM 1 WHERE password=g('x'); END $$",
        "SELECT format('host=h password=%s', $1), g('x')",
        "SELECT 'password=' || $1, g('x')",
        "SET pgmig_extras.require_password = off",
        "ALTER SUBSCRIPTION s SET (password_required = false)",
        "SET password_encryption = 'md5'",
    ] {
        assert_eq!(sql(text), text);
    }
    for text in
        ["SELECT 1 WHERE password='\\', g('x'), 'y'", "/* password=' */ SELECT g('x'); SELECT 'y'"]
    {
        assert!(sql(text).contains("g('x')"), "{}", sql(text));
    }
}

#[test]
fn prose_may_contain_a_connection_string_without_quotes() {
    for (text, expected) in [
        (
            "connecting to host=h password=a!b,c user=u",
            "connecting to host=h password=******** user=u",
        ),
        ("can't use host=h password='a b' user=u", "can't use host=h password='********' user=u"),
        (r"can't use password='a\'b c' user=u", "can't use password='********' user=u"),
        (
            "Key (c)=(host=h password=s3 x=y) already exists.",
            "Key (c)=(host=h password=******** x=y) already exists.",
        ),
    ] {
        assert_eq!(of(Kind::Text, text), expected);
    }
    let hint = "Add password=… of a role, or keyword='value' pairs.";
    assert_eq!(of(Kind::Text, hint), hint);
}

#[test]
fn a_known_secret_is_found_in_any_quoting() {
    let mut known = Known::new(0x1234_5678_9abc);
    for secret in ["it's\\s3", "k"] {
        known.note(secret.as_bytes());
    }
    let mask = |text: &str| {
        String::from_utf8(masked(text.as_bytes(), Kind::Sql, &known).into_owned()).unwrap()
    };
    for (text, expected) in [
        (
            r"SELECT f(format('pass%s', 'word=it''s\s3'))",
            "SELECT f(format('pass%s', 'word=********'))",
        ),
        (r"SELECT E'it\'s\\s3', g('x')", "SELECT E'********', g('x')"),
        (r"$1 = 'it''s\s3', $2 = 'k'", "$1 = '********', $2 = '********'"),
        (
            r"DO $$ BEGIN EXECUTE 'f(''it''''s\s3'')'; END $$",
            "DO $$ BEGIN EXECUTE 'f(''********'')'; END $$",
        ),
        ("SELECT k1, ok, 'ok', 'k1'", "SELECT k1, ok, 'ok', 'k1'"),
    ] {
        assert_eq!(mask(text), expected);
    }
}

#[test]
fn a_known_secret_cannot_hide_a_statement() {
    let mut known = Known::new(77);
    known.note(b"GRANT a TO b");
    known.note(b"a TO c");
    let text = "SELECT 1,GRANT a TO b,x; GRANT a TO c; EXECUTE 'GRANT a TO b'";
    assert_eq!(masked(text.as_bytes(), Kind::Sql, &known), Cow::Borrowed(text.as_bytes()));
    assert!(Known::NOTHING.is_empty());
}

#[test]
fn the_secrets_noted_last_are_kept() {
    let mut known = Known::new(5);
    (0..100).for_each(|number| known.note(format!("secret{number}").as_bytes()));
    let hidden = |text: &str| masked(text.as_bytes(), Kind::Sql, &known).contains(&b'*');
    assert!(hidden("'secret99'") && hidden("'secret85'") && !hidden("'secret5'"));
}

#[test]
fn an_argument_is_truncated_and_a_connection_string_is_not_shown() {
    assert_eq!(shown("a\nname"), "a name");
    assert_eq!(shown(&"ä".repeat(40)), format!("{}…", "ä".repeat(31)));
    assert_eq!(shown("host=h password=x"), "<connection string>");
    assert_eq!(shown("postgres://u:p@h/d"), "<connection string>");
    assert_eq!(shown(&format!("{} password=x", "y".repeat(500))), "<connection string>");
}

/// With quadratic time this test would take minutes.
#[test]
fn difficult_texts_take_linear_time() {
    let pieces = [
        "'",
        "''",
        "\\",
        "$",
        "$a",
        "$a$",
        "password=",
        "password='",
        "a://b:c/",
        "a://b@c",
        "=",
        "= ",
        " ",
        "E'",
        "/*",
        "--",
        "%70",
        "\"",
        "{",
        "postgres://a:b",
        "password=\\'",
        "(",
        "k",
        "E'\\\\",
        "password=''",
        "'password=",
        "$$'",
        "a:",
        "'\n",
        "''\n",
        "/**/",
        "password=/**/",
        "create user password /**/",
        "$a$ $b$",
        "\"a",
    ];
    let mut known = Known::new(99);
    (1..40).for_each(|length| known.note("k".repeat(length).as_bytes()));
    for piece in pieces {
        let text = piece.repeat((1 << 14) / piece.len());
        let start = std::time::Instant::now();
        let masked = masked(text.as_bytes(), Kind::Sql, &known);
        assert!(masked.len() <= text.len() * 8);
        assert!(start.elapsed().as_secs() < 5, "{piece:?}: {:?}", start.elapsed());
    }
}

fn conninfo_value(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

proptest! {
    #[test]
    fn masking_any_text_stays_within_its_bounds(text in "[a-z='\"\\\\$@:/ %?&(),;*-]{0,60}", is_sql: bool) {
        let kind = if is_sql { Kind::Sql } else { Kind::Text };
        let once = masked(text.as_bytes(), kind, &Known::NOTHING);
        let parts = Parts::whole(text.as_bytes(), kind);
        let length = masked_length(text.as_bytes(), &parts, &Known::NOTHING);
        prop_assert_eq!(length.unwrap_or(text.len()), once.len());
    }

    /// A quoted value of a connection string, in a literal, in a literal of a statement that is run.
    #[test]
    fn a_quoted_secret_is_found_at_any_depth(
        secret in "[a-zA-Z0-9'\"\\\\$@:/ %?&(),;=*-]{0,20}[A-Z]{8}[a-z' \\\\=]{0,5}", depth in 0..4_usize,
    ) {
        let conninfo = format!("host=h password={} user=someone", conninfo_value(&secret));
        let inner = format!("SELECT f({}, 'kept')", literal(&conninfo));
        let text = (0..depth).fold(inner, |inner, _| format!("EXECUTE {}; SELECT 'after'", literal(&inner)));
        let mark = secret.find(|c: char| c.is_ascii_uppercase()).map(|at| &secret[at..at + 8]).unwrap();
        let masked = sql(&text);
        prop_assert!(!masked.contains(mark), "{}", masked);
        prop_assert!(masked.contains("user=someone") && masked.contains("kept"), "{}", masked);
        prop_assert_eq!(masked.matches("after").count(), depth);
    }

    #[test]
    fn a_known_secret_is_found_wherever_it_is_a_literal(
        secret in "[a-zA-Z0-9'\\\\$@:%?&,=*]{1,20}Z", key: u64, depth in 0..4_usize,
    ) {
        let mut known = Known::new(key);
        known.note(secret.as_bytes());
        let text = (0..depth).fold(format!("f({}, 'kept')", literal(&secret)), |inner, _| literal(&inner));
        let masked = masked(text.as_bytes(), Kind::Sql, &known);
        let masked = String::from_utf8_lossy(&masked);
        prop_assert!(masked.contains("********") && masked.contains("kept"), "{}", masked);
    }
}

/// The heads of a CONTEXT.
fn context_heads() -> [Head; Parts::HEADS] {
    [
        Head::of(b"SQL statement \"%s\""),
        Head::of(b"SQL expression \"%s\""),
        Head::of(b"PL/pgSQL assignment \"%s\""),
        Head::of_line(b"PL/pgSQL function %s"),
        Head::of_line(b"SQL function \"%s\""),
        Head::NONE,
    ]
}

fn in_parts(text: &str, parts: &Parts) -> String {
    String::from_utf8(masked_parts(text.as_bytes(), parts, &Known::NOTHING).into_owned()).unwrap()
}

fn context(text: &str) -> String {
    in_parts(text, &Parts::quoted(text.as_bytes(), &context_heads()))
}

fn audit(text: &str) -> String {
    in_parts(text, &Parts::audit(text.as_bytes(), Kind::Sql))
}

fn plan(text: &str) -> String {
    in_parts(text, &Parts::plan(text.as_bytes(), Kind::Sql))
}

#[test]
fn parameters_after_the_statements_of_a_context_are_not_code() {
    let masked = context(
        "SQL statement \"SELECT f(subscription, \"a b\", 'x')\"\n\
         PL/pgSQL function attempt(text) line 3 at PERFORM\n\
         unnamed portal with parameters: $1 = 'Sub \"2\"', $2 = NULL, \
         $3 = 'host=h password=''two words'' dbname=''d'''",
    );
    assert!(!masked.contains("two words") && masked.contains("dbname=''d'"), "{masked}");
    assert!(masked.contains("f(subscription, \"a b\", 'x')"), "{masked}");
}

#[test]
fn quotes_in_a_name_before_a_statement_do_not_change_how_it_is_read() {
    let code = "SELECT 1 AS \"password='\", ssn FROM people WHERE x = ' --'";
    for name in ["x'", "x\"", "$x$", "/*", "--", "E'", "a: ", "password='", "x'/a\n"] {
        let (line, secret) = (format!("execute {name}: "), "SELECT f('password=''a b'' x=y')");
        let line_of = |sql: &str| {
            in_parts(
                &format!("{line}{sql}"),
                &Parts::from(format!("{line}{sql}").as_bytes(), line.len(), Kind::Sql),
            )
        };
        assert_eq!(line_of(code), format!("{line}{code}"));
        assert_eq!(line_of(secret), format!("{line}SELECT f('password=''********'' x=y')"));
    }
    let mut known = Known::new(7);
    known.note(b"s3");
    let line = "execute 's3': SELECT s3, 's3'";
    let parts = Parts::from(line.as_bytes(), 14, Kind::Sql);
    assert_eq!(
        &*masked_parts(line.as_bytes(), &parts, &known),
        b"execute '********': SELECT s3, '********'"
    );
}

#[test]
fn each_statement_of_a_context_is_read_from_its_own_start() {
    for (text, expected) in [
        (
            "SQL statement \"SELECT f('password=''a b''')\"\nPL/pgSQL function f() line 3",
            "SQL statement \"SELECT f('password=''********''')\"\nPL/pgSQL function f() line 3",
        ),
        (
            "PL/pgSQL assignment \"x := f('password=''a b''')\"\nPL/pgSQL function \"F\"() line 3\n\
             SQL statement \"SELECT g('password=''c d''')\"",
            "PL/pgSQL assignment \"x := f('password=''********''')\"\nPL/pgSQL function \"F\"() line 3\n\
             SQL statement \"SELECT g('password=''********''')\"",
        ),
        (
            "PL/pgSQL function \"it's\"() line 3\nSQL statement \"SELECT g('password=''c d''')\"",
            "PL/pgSQL function \"it's\"() line 3\nSQL statement \"SELECT g('password=''********''')\"",
        ),
    ] {
        assert_eq!(context(text), expected);
    }
    let code = "SELECT 1 AS \"password='\", ssn FROM people WHERE x = ' --'";
    let fake = "SELECT '\nSQL statement \"', ssn FROM people WHERE x = ' password=', ssn, '\n\
                unnamed portal with parameters: $1 = ', ssn, 'password=', ssn, '";
    for text in [
        format!("SQL statement \"{code}\""),
        format!("PL/pgSQL function \"x'password='\"() line 3\nSQL statement \"{code}\""),
        format!(
            "SQL statement \"SELECT 1\"\nPL/pgSQL function \"'\"() line 3\nSQL statement \"{code}\""
        ),
        format!("SQL statement \"{fake}\"\nPL/pgSQL function f() line 1 at EXECUTE"),
        format!(
            "SQL statement \"SELECT 1\"\nPL/pgSQL function \"'\"() line 3\nSQL statement \"{fake}\"\nX"
        ),
        format!("{}SQL statement \"{code}\"", "SQL statement \"x\"\nfunction \"'\"()\n".repeat(20)),
    ] {
        assert_eq!(context(&text), text);
    }
    let names = "SQL expression \"1/0\"\nPL/pgSQL function \"password='\"() line 1\n\
                 PL/pgSQL function transfer() line 2\nSQL statement \"SELECT ' --'\"";
    assert_eq!(context(names), names);
    let deep = "SQL statement \"SELECT f('password=''a b''')\"\nPL/pgSQL function f() line 3\n";
    let masked = context(&deep.repeat(500));
    assert_eq!(masked.matches("********").count(), 500);
}

#[test]
fn statements_in_a_detail_are_read_from_their_start() {
    let heads =
        [&b"prepare: %s"[..], b"Failed process was running: %s", b"Process %d: %s", b"", b"", b""]
            .map(Head::of);
    let detail = |text: &str| in_parts(text, &Parts::quoted(text.as_bytes(), &heads));
    let code = "SELECT 1 AS \"password='\", ssn FROM people --'";
    for head in ["prepare: ", "Failed process was running: ", "Process 2 waits.\n\nProcess 12: "] {
        assert_eq!(detail(&format!("{head}{code}")), format!("{head}{code}"));
        assert_eq!(
            detail(&format!("{head}SELECT f('password=a')\nProcess 3: SELECT 'password=b'")),
            format!("{head}SELECT f('password=********')\nProcess 3: SELECT 'password=********'")
        );
    }
}

#[test]
fn an_audit_line_is_read_field_by_field() {
    for (text, expected) in [
        (
            "AUDIT: SESSION,1,1,READ,SELECT,,,\"SELECT \"\"f\"\"('password=''a b''', 1)\",<none>",
            "AUDIT: SESSION,1,1,READ,SELECT,,,\"SELECT \"\"f\"\"('password=''********''', 1)\",<none>",
        ),
        (
            "AUDIT: SESSION,1,1,READ,SELECT,TABLE,\"a,b\",SELECT f('password=x y'),<none>",
            "AUDIT: SESSION,1,1,READ,SELECT,TABLE,\"a,b\",SELECT f('password=******** y'),<none>",
        ),
        (
            "AUDIT: SESSION,1,1,READ,SELECT,,,SELECT f($1),host=h password=a-b user=u",
            "AUDIT: SESSION,1,1,READ,SELECT,,,SELECT f($1),host=h password=******** user=u",
        ),
        (
            "AUDIT: SESSION,1,1,READ,SELECT,,,SELECT f($1),\"a,b\",\"password='a, b' x=\"\"y\"\"\"",
            "AUDIT: SESSION,1,1,READ,SELECT,,,SELECT f($1),\"a,b\",\"password='********' x=\"\"y\"\"\"",
        ),
    ] {
        assert_eq!(audit(text), expected);
    }
    for text in [
        "AUDIT: SESSION,1,1,READ,SELECT,,,\"SELECT 1 AS \"\"password='\"\", ssn --'\",<none>",
        "AUDIT: SESSION,1,1,READ,SELECT,TABLE,public.x'password=,SELECT ssn FROM people -- ',<none>",
        "AUDIT: SESSION,1,1,READ,SELECT,TABLE,\"x'\"\",password='\",\"SELECT ssn, a --'\",<none>",
        "AUDIT: SESSION,1",
    ] {
        assert_eq!(audit(text), text);
    }
}

#[test]
fn a_plan_is_read_in_every_format() {
    for (text, expected) in [
        (
            "Query Text: SELECT f('password=a')\nResult",
            "Query Text: SELECT f('password=********')\nResult",
        ),
        (
            "{\n  \"Query Text\": \"SELECT \\\"f\\\"('password=''a b''')\",\n  \"Plan\": 1}",
            "{\n  \"Query Text\": \"SELECT \\\"f\\\"('password=''********''')\",\n  \"Plan\": 1}",
        ),
        (
            "Query Text: \"SELECT \\\"f\\\"('password=''a b''')\"\nPlan:",
            "Query Text: \"SELECT \\\"f\\\"('password=''********''')\"\nPlan:",
        ),
        (
            "<explain>\n  <Query-Text>SELECT \"f\"('password=''a &lt;b''')</Query-Text>",
            "<explain>\n  <Query-Text>SELECT \"f\"('password=''********''')</Query-Text>",
        ),
    ] {
        assert_eq!(
            plan(&format!("duration: 1 ms  plan:\n{text}")),
            format!("duration: 1 ms  plan:\n{expected}")
        );
    }
    for text in [
        "Query Text: SELECT 1 AS \"password='\", ssn FROM people --'",
        "{\n  \"Query Text\": \"SELECT 1 AS \\\"password='\\\", ssn FROM people --'\",\n  \"Plan\": 1}",
        "Query Text: \"SELECT 1 AS \\\"password='\\\", ssn FROM people --'\"\nPlan:",
        "<explain>\n<Query-Text>SELECT 1 AS \"password='\", ssn FROM people --'</Query-Text>",
    ] {
        let text = format!("duration: 1 ms  plan:\n{text}");
        assert_eq!(plan(&text), text);
    }
}
