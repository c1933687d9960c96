//! Other names that some backend takes for a credential's: in bodies, cookies and queries.

use super::*;

#[test]
fn r35_keys_that_a_reader_without_case_takes_for_a_credential_are_refused_beside_it_and_alone() {
    for body in [
        r#"{"email":"a","password":"b","Email":"c"}"#,
        r#"{"EMAIL":"c","email":"a","password":"b"}"#,
        r#"{"email":"a","password":"b","PassWord":"c"}"#,
        r#"{"email":"a","password":"b","pa\u017Fsword":"c"}"#,
        r#"{"email":"a","password":"b","emaıl":"c"}"#,
        r#"{"email":"a","password":"b","email\u0000x":"c"}"#,
        r#"{"email":"a","password":"b"," email":"c"}"#,
        r#"{"email":"a","password":"b","email\u200b":"c"}"#,
        r#"{"Email":"a","password":"b"}"#,
    ] {
        assert_eq!(pair(&json_shape(), body), Err(DecodeError::DuplicateKey), "{body}");
    }
    let nested = shape(BodyFormat::Json, "/user/email", "/user/password");
    assert_eq!(
        pair(&nested, r#"{"user":{"email":"a","password":"b"},"User":{"email":"c"}}"#),
        Err(DecodeError::DuplicateKey)
    );
    assert_eq!(pair(&nested, r#"{"user":{"email":"a","password":"b","EMAIL":"c"}}"#), Err(DecodeError::DuplicateKey));
    assert!(pair(&nested, r#"{"user":{"email":"a","password":"b"},"Email":"c"}"#).is_ok());
}

#[test]
fn r38_a_credential_under_two_names_is_refused_whatever_the_spelling() {
    let good = "user[email]=a&user[password]=b";
    assert_eq!(pair(&form_shape(), good), Ok(("a".to_owned(), "b".to_owned())));
    for alias in [
        "user[email]",
        "user%5Bemail%5D",
        "user[email][]",
        "user[email][0]",
        "user[][email]",
        "user[0][email]",
        "user.email",
        "User[Email]",
        "USER[EMAIL]",
        " user[email]",
        "user[ email ]",
        "user[email",
        "user[email][x]",
        "user",
        "user[]",
        "user[email]%00",
        "user[email]%00x",
        "us%E2%80%8Ber[email]",
        "u%C5%BFer[email]",
        "user[ema%C4%B1l]",
        "_user[email]",
        "!user[email]",
        "user.email[]",
        "user[password][]",
        "user.password",
        "user.[email]",
        "user[email].x",
    ] {
        for body in [format!("{good}&{alias}=c"), format!("{alias}=c&{good}")] {
            assert_eq!(pair(&form_shape(), &body), Err(DecodeError::DuplicateField), "{body}");
        }
        if !alias.starts_with("user[email]=")
            && form::parse(format!("{alias}=c").as_bytes()).expect("a form")[0].0 != "user[email]"
        {
            let alone = format!("{alias}=c&user[password]=b");
            assert!(pair(&form_shape(), &alone).is_err(), "{alone}");
        }
    }
    let flat = shape(BodyFormat::Form, "user_login", "_password");
    for alias in [
        "user.login",
        "user login",
        "user[login",
        "user_login[]",
        "%20user_login",
        "User_Login",
        "password",
        ".password",
        "__password",
        "!_password",
    ] {
        assert_eq!(
            pair(&flat, &format!("user_login=a&_password=b&{alias}=c")),
            Err(DecodeError::DuplicateField),
            "{alias}"
        );
    }
    for other in [
        "user_email=c",
        "user[name]=c",
        "email=c",
        "user[email_confirmation]=c",
        "authenticity_token=x&utf8=%E2%9C%93",
        "userx=1",
        "user[name]=1&user[name]=2",
    ] {
        assert!(pair(&form_shape(), &format!("{good}&{other}")).is_ok(), "{other}");
    }
    for other in ["user_login2=c", "xuser_login=c", "login=c", "password_confirmation=c"] {
        assert!(pair(&flat, &format!("user_login=a&_password=b&{other}")).is_ok(), "{other}");
    }
}

/// Rails' `wrap_parameters` makes a group of flat JSON unless the group is there already: then it is what the app reads.
#[test]
fn r41_a_second_password_in_a_group_or_out_of_one_is_refused() {
    for body in [
        r#"{"email":"a","password":"b","user":{"email":"c","password":"d"}}"#,
        r#"{"user":{"Password":"d"},"email":"a","password":"b"}"#,
        r#"{"email":"a","password":"b","x":[{"y":{"password":"d"}}]}"#,
    ] {
        assert_eq!(pair(&json_shape(), body), Err(DecodeError::DuplicateField), "{body}");
    }
    let mut wrapped = json_shape();
    wrapped.login = Some(FieldRef::new("/user/email"));
    wrapped.password = Some(FieldRef::new("/user/password"));
    let body = r#"{"user":{"email":"a","password":"b"},"password":"d"}"#;
    assert_eq!(pair(&wrapped, body), Err(DecodeError::DuplicateField));
    for body in ["user[email]=a&user[password]=b&password=c", "user[email]=a&user[password]=b&x[user][password]=c"] {
        assert_eq!(pair(&form_shape(), body), Err(DecodeError::DuplicateField), "{body}");
    }
    // A change has two passwords of its own, and a registration has people with addresses.
    let mut change = json_shape();
    change.new_password = Some(FieldRef::new("/new/password"));
    let body = r#"{"email":"a","password":"b","new":{"password":"c"}}"#;
    assert!(pair(&change, body).is_ok());
    assert!(pair(&json_shape(), r#"{"email":"a","password":"b","company":{"email":"c"}}"#).is_ok());
    assert!(pair(&form_shape(), "user[email]=a&user[password]=b&email=c").is_ok());
}

#[test]
fn r39_cookies_that_bear_a_credentials_name_are_not_sent_on() {
    let strip = |lines: &[&'static str], shape: &RequestShape| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("cookie", HeaderValue::from_static(line));
        }
        strip_credential_cookies(&mut headers, &[shape]);
        headers.get_all("cookie").iter().map(|line| line.to_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    for (lines, kept) in [
        (&["a=1; b=2"][..], &["a=1; b=2"][..]),
        (&["email=x; a=1; password=y"], &["a=1"]),
        (&["a=1;EMAIL=x"], &["a=1"]),
        (&["e%6dail=x;  a=1 "], &["a=1"]),
        (&["email[]=x", "a=1; email", "b=\"email=1\""], &["a=1", "b=\"email=1\""]),
        (&["email=x"], &[]),
        (&["emails=x; my_email=1; user=1"], &["emails=x; my_email=1; user=1"]),
    ] {
        assert_eq!(strip(lines, &json_shape()), kept, "{lines:?}");
    }
    assert_eq!(strip(&["user=1; user[email]=x; user.password=y"], &form_shape()), ["user=1"]);
    let mut refresh = json_shape();
    refresh.token = Some(FieldRef::new("/token"));
    assert_eq!(strip(&["token=session"], &refresh), ["token=session"], "a session is a cookie of that name");
}

#[test]
fn r39_a_query_that_names_a_credential_is_found_in_any_spelling() {
    for (shape, named, other) in [
        (
            json_shape(),
            &[
                "email",
                "password=",
                "EMAIL=x",
                "%65mail=x",
                "a&email[]=x",
                "email[0]=x",
                "a;email=x",
                "user[email]=x",
                "x.email=y",
                "+email=1",
                "?email=1",
                "%3femail=1",
                "%zz=1",
            ][..],
            &["", "a=b", "emails=x", "e=mail", "next=%2Femail", "_=1"][..],
        ),
        (
            form_shape(),
            &[
                "user[email]=x",
                "email=x",
                "user.email=x",
                "user%5bpassword%5d=x",
                "User[Password]",
                "user=1",
                "user[]=1",
            ],
            &["mail=x", "username=x", "userx[email2]=1"],
        ),
        (
            shape(BodyFormat::Form, "_username", "_password"),
            &["username=x", "_USERNAME=x", ".password=x"],
            &["user=x", "pass=x"],
        ),
    ] {
        for query in named {
            assert!(query_names_credential(query, &shape), "{query}");
        }
        for query in other {
            assert!(!query_names_credential(query, &shape), "{query}");
        }
    }
}
