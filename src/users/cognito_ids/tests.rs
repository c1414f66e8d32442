use super::*;

/// A pool user who is confirmed and enabled and has verified `NAME@example.com`.
fn cognito(name: &str) -> CognitoUser {
    CognitoUser {
        sub: format!("sub-{name}"),
        username: name.to_owned(),
        preferred_username: Some(name.to_owned()),
        email: Some(format!("{name}@example.com")),
        email_verified: true,
        status: "CONFIRMED".to_owned(),
        enabled: true,
    }
}

fn known(handle: &str, id: Option<&str>) -> KnownUser {
    KnownUser {
        uuid: Uuid::new_v5(&Uuid::NAMESPACE_DNS, handle.as_bytes()),
        handle: Some(handle.to_owned()),
        email: Some(format!("{handle}@example.com")),
        cognito_user_id: id.map(str::to_owned),
    }
}

fn planned(cognito: &[CognitoUser], known: &[KnownUser], replace: &[&str]) -> IdPlan {
    let replace = replace.iter().map(|handle| (*handle).to_owned()).collect();
    plan(Matching::VerifiedEmail, cognito, known, &replace)
}

fn updates(plan: &IdPlan) -> Vec<(&str, &str)> {
    plan.updated.iter().map(|it| (it.name.as_str(), it.candidate.user.sub.as_str())).collect()
}

/// The reason why the only user was skipped.
fn reason(plan: &IdPlan) -> &str {
    let [skipped] = plan.skipped.as_slice() else { panic!("{plan:?}") };
    assert!(plan.updated.is_empty(), "{plan:?}");
    &skipped.reason
}

#[test]
fn only_an_empty_or_mock_id_is_filled() {
    let in_cognito = ["ana", "ben", "chloe", "esi"].map(cognito);
    let users = [
        known("ana", Some("MOCK")),
        known("ben", None),
        known("chloe", Some("")),
        known("dmitri", Some("MOCK")),
        known("esi", Some("another")),
    ];
    let plan = planned(&in_cognito, &users, &[]);
    assert_eq!(updates(&plan), [("ana", "sub-ana"), ("ben", "sub-ben"), ("chloe", "sub-chloe")]);
    assert_eq!(plan.in_postgres_only, ["dmitri"]);
    let [skipped] = plan.skipped.as_slice() else { panic!("{plan:?}") };
    assert!(skipped.name == "esi" && skipped.reason.contains("--replace esi"), "{skipped:?}");

    let plan = planned(&in_cognito, &users, &["esi"]);
    let of_esi = plan.updated.iter().find(|it| it.name == "esi").expect("an update");
    assert_eq!(of_esi.replaces.as_deref(), Some("another"));
    assert!(plan.not_replaced.is_empty());
}

#[test]
fn a_pool_user_must_be_confirmed_and_enabled_and_have_verified_the_address() {
    type Change = fn(&mut CognitoUser);
    let changes: [(&str, Change); 7] = [
        ("UNCONFIRMED, enabled, same e-mail address, verified", |it| it.status = "UNCONFIRMED".to_owned()),
        ("FORCE_CHANGE_PASSWORD, enabled", |it| it.status = "FORCE_CHANGE_PASSWORD".to_owned()),
        ("CONFIRMED, disabled, same e-mail address", |it| it.enabled = false),
        ("same e-mail address, not verified, same handle", |it| it.email_verified = false),
        ("not the same e-mail address, same handle", |it| it.email = Some("x@example.com".to_owned())),
        ("not the same e-mail address, same handle", |it| it.email = None),
        // A Kelvin sign, whose lower case is the ASCII letter.
        ("not the same e-mail address, same handle", |it| it.email = Some("\u{212a}it@example.com".to_owned())),
    ];
    for (facts, change) in changes {
        let mut stranger = CognitoUser { preferred_username: Some("kit".to_owned()), ..cognito("kit") };
        change(&mut stranger);
        let users = [known("kit", Some("MOCK"))];
        let plan = planned(std::slice::from_ref(&stranger), &users, &[]);
        assert_eq!(reason(&plan), NO_MATCH);
        let text = plan.skipped[0].candidates[0].to_string();
        assert!(text.contains(facts), "{text}");
        // The stranger does not keep the owner of the address from the account.
        let owner = CognitoUser { preferred_username: Some("other".to_owned()), ..cognito("kit") };
        let owner = CognitoUser { sub: "sub-owner".to_owned(), ..owner };
        assert_eq!(updates(&planned(&[stranger, owner], &users, &[])), [("kit", "sub-owner")]);
    }
}

#[test]
fn the_case_of_an_address_and_another_handle_do_not_matter() {
    let user = CognitoUser { email: Some("Ana@Example.com".to_owned()), preferred_username: None, ..cognito("ana") };
    let nameless = KnownUser { handle: None, ..known("ana", None) };
    for user_in_postgres in [known("ana", None), nameless] {
        let plan = planned(std::slice::from_ref(&user), std::slice::from_ref(&user_in_postgres), &[]);
        assert_eq!(updates(&plan), [(user_in_postgres.name().as_str(), "sub-ana")]);
    }
}

#[test]
fn an_address_that_two_have_decides_nothing() {
    let other = CognitoUser { email: Some("ANA@example.com".to_owned()), ..cognito("other") };
    let plan = planned(&[cognito("ana"), other.clone()], &[known("ana", Some("MOCK"))], &[]);
    assert_eq!(reason(&plan), "2 users of the pool match");
    assert_eq!(plan.skipped[0].candidates.len(), 2);
    let plan = planned(&[cognito("ana"), other], &[known("ana", Some("MOCK"))], &["ana"]);
    assert_eq!(plan.not_replaced, [("ana".to_owned(), "2 users of the pool match".to_owned())]);

    let twin = KnownUser { email: Some("Ana@example.com".to_owned()), ..known("twin", None) };
    let plan = planned(&[cognito("ana")], &[known("ana", Some("MOCK")), twin.clone()], &[]);
    assert!(plan.updated.is_empty() && plan.skipped.len() == 2, "{plan:?}");
    assert!(plan.skipped.iter().all(|it| it.reason == "2 users in PostgreSQL have this e-mail address"), "{plan:?}");
    let plan = planned(&[cognito("ana")], &[known("ana", Some("sub-ana")), twin], &[]);
    assert_eq!((plan.unchanged.as_slice(), plan.skipped.len()), (["ana".to_owned()].as_slice(), 1), "{plan:?}");
}

#[test]
fn an_id_that_one_user_has_is_given_to_no_other() {
    let users = [known("ana", Some("MOCK")), known("ben", Some("sub-ana"))];
    let plan = planned(&[cognito("ana")], &users, &["ana"]);
    assert!(plan.updated.is_empty(), "{plan:?}");
    let reasons: Vec<&str> = plan.skipped.iter().map(|it| it.reason.as_str()).collect();
    // The second one may be the work of a stranger who chose the handle.
    assert_eq!(
        reasons,
        ["the id sub-ana is already the id of ben", "has the id of a user of the pool who does not match"]
    );
    assert_eq!(plan.not_replaced.len(), 1);
}

#[test]
fn an_up_to_date_user_stays_and_strangers_are_reported() {
    let mut zoe = cognito("zoe");
    zoe.status = "UNCONFIRMED".to_owned();
    let plan = planned(&[cognito("ana"), zoe], &[known("ana", Some("sub-ana"))], &[]);
    assert_eq!(plan.unchanged, ["ana"]);
    assert_eq!(plan.in_cognito_only, ["zoe (sub-zoe): UNCONFIRMED, enabled"]);
    assert!(plan.updated.is_empty() && plan.skipped.is_empty());
}

#[test]
fn a_wrong_handle_to_replace_is_reported_with_the_reason() {
    let users = [known("ana", Some("another")), known("ben", Some("another one"))];
    let plan = planned(&[cognito("ana")], &users, &["ana", "ben", "nobody"]);
    let handles: Vec<&str> = plan.not_replaced.iter().map(|(handle, _)| handle.as_str()).collect();
    assert_eq!(handles, ["ben", "nobody"]);
    assert_eq!(plan.not_replaced[0].1, NO_MATCH);
    assert!(plan.not_replaced[1].1.contains("PostgreSQL has no user"), "{plan:?}");
}

#[test]
fn by_handle_only_whoever_chose_the_handle_gets_the_account() {
    let stranger = CognitoUser {
        preferred_username: Some("ben".to_owned()),
        email_verified: false,
        status: "UNCONFIRMED".to_owned(),
        ..cognito("stranger")
    };
    let by_handle = |in_cognito: &[CognitoUser]| {
        plan(Matching::HandleOnly, in_cognito, &[known("ben", Some("MOCK"))], &BTreeSet::new())
    };
    let plan = by_handle(std::slice::from_ref(&stranger));
    assert_eq!(updates(&plan), [("ben", "sub-stranger")]);
    assert_eq!(reason(&by_handle(&[stranger, cognito("ben")])), "2 users of the pool match");
}
