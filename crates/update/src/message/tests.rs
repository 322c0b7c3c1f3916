use super::*;
use proptest::prelude::*;
use zonemesh_zone::record::parse_name;

fn name(text: &str) -> Name {
    parse_name(text).unwrap()
}

fn record(text: &str) -> Record {
    Record::from_text(text, &name("example.com")).unwrap()
}

fn sample() -> Update {
    Update::new(name("example.com"))
        .require(Prerequisite::NameInUse(name("a.example.com")))
        .require(Prerequisite::NameNotInUse(name("b.example.com")))
        .require(Prerequisite::RrsetExists(name("a.example.com"), Rtype::A))
        .require(Prerequisite::RrsetAbsent(name("a.example.com"), Rtype::MX))
        .require(Prerequisite::RecordExists(record("a 0 IN A 192.0.2.1")))
        .add(record("a 60 IN MX 10 mail.example.com."))
        .delete_rrset(name("c.example.com"), Rtype::TXT)
        .delete_name(name("d.example.com"))
        .delete_record(record("e 0 IN TXT \"x\""))
}

#[test]
fn an_update_is_read_as_it_was_composed() {
    let message = sample().compose(77).unwrap();
    assert_eq!(Update::parse(&message).unwrap(), sample());
}

/// What nsupdate of BIND 9.20 sends: names are compressed, in the data of PTR records too.
const NSUPDATE: &str = concat!(
    "15162800000100040006000003646e7308696e7465726e616c000006000106736974652d63c00c00ff00fe00",
    "000000000006736974652d61c00c00010001000000000004c0000201075f736368656d61c00c001000ff0000",
    "00000000c01e001c00fe000000000000c01e000100ff000000000000045f646e73c01e00ff00ff0000000000",
    "00036f6c64076578616d706c65065f7a6f6e6573c00c000c00fe000000000002c01ec01e000100010000012c",
    "0004c0000203c074004000010000012c0025000106736974652d6303646e7308696e7465726e616c00000100",
    "0403646f74000300020355036e6577c089000c00010000012c0002c01e",
);

#[test]
fn what_nsupdate_sends_is_read() {
    let message: Vec<u8> = NSUPDATE
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let zone = name("dns.internal");
    let record = |text: &str| Record::from_text(text, &zone).unwrap();
    let at = |label: &str| name(&format!("{label}.dns.internal"));
    let expected = Update::new(zone.clone())
        .require(Prerequisite::NameNotInUse(at("site-c")))
        .require(Prerequisite::RecordExists(record(
            "site-a 0 IN A 192.0.2.1",
        )))
        .require(Prerequisite::RrsetExists(at("_schema"), Rtype::TXT))
        .require(Prerequisite::RrsetAbsent(at("site-c"), Rtype::AAAA))
        .delete_rrset(at("site-c"), Rtype::A)
        .delete_name(at("_dns.site-c"))
        .delete_record(record("old.example._zones 0 IN PTR site-c"))
        .add(record("site-c 300 IN A 192.0.2.3"))
        .add(record("_dns.site-c 300 IN SVCB 1 site-c alpn=dot port=853"))
        .add(record("new.example._zones 300 IN PTR site-c"));
    assert_eq!(Update::parse(&message).unwrap(), expected);
}

/// Changes octets of the only record, which is the last thing in the message.
fn broken(update: &Update, edit: impl Fn(&mut Vec<u8>)) -> MessageError {
    let mut message = update.compose(1).unwrap();
    edit(&mut message);
    Update::parse(&message).unwrap_err()
}

/// How many octets the OPT record at the end has.
const OPT: usize = 11;

#[test]
fn records_that_break_the_rules_are_form_errors() {
    let zone = || Update::new(name("example.com"));
    let delete = zone().delete_rrset(name("a.example.com"), Rtype::A);
    let end = delete.compose(1).unwrap().len() - OPT;
    // TTL of a deletion.
    let error = broken(&delete, |message| message[end - 3] = 1);
    assert_eq!(error.rcode(), Rcode::FORMERR, "{error}");
    // Data of a deletion of a whole RRset.
    let error = broken(&delete, |message| {
        message[end - 1] = 1;
        message.insert(end, 0);
    });
    assert_eq!(error.rcode(), Rcode::FORMERR, "{error}");
    // Class CH.
    let error = broken(&delete, |message| message[end - 7] = 3);
    assert_eq!(error.rcode(), Rcode::FORMERR, "{error}");
    // AXFR is no type of a zone.
    let error = broken(&delete, |message| message[end - 9] = 252);
    assert_eq!(
        error.to_string(),
        "a.example.com. AXFR in the update section: not a type that can be in a zone"
    );
    // A prerequisite with a TTL.
    let exists = zone().require(Prerequisite::RrsetExists(name("a.example.com"), Rtype::A));
    let error = broken(&exists, |message| message[end - 3] = 1);
    assert_eq!(
        error.to_string(),
        "a.example.com. A in the prerequisite section: the TTL must be 0"
    );
}

#[test]
fn what_is_no_update_is_named() {
    let query = broken(&sample(), |message| message[2] = 0);
    assert_eq!(query.rcode(), Rcode::NOTIMP);
    let no_zone = broken(&Update::new(name("example.com")), |message| message[5] = 0);
    assert_eq!(no_zone.rcode(), Rcode::FORMERR);
    let not_soa = Update::new(name("example.com"));
    let len = not_soa.compose(1).unwrap().len() - OPT;
    assert_eq!(
        broken(&not_soa, |message| message[len - 3] = 1).rcode(),
        Rcode::FORMERR
    );
    assert_eq!(
        broken(&not_soa, |message| message[len - 1] = 3).rcode(),
        Rcode::NOTAUTH
    );
}

#[test]
fn an_update_that_does_not_fit_says_so() {
    let mut update = Update::new(name("example.com"));
    for at in 0..4000 {
        update = update.add(record(&format!("host{at} 60 IN A 192.0.2.1")));
    }
    update.compose(1).unwrap_err();
}

proptest! {
    #[test]
    fn no_octets_make_the_parser_panic(message in proptest::collection::vec(any::<u8>(), 0..200)) {
        // Whether it is an update does not matter here.
        drop(Update::parse(&message));
    }

    #[test]
    fn no_damaged_update_makes_the_parser_panic(at in 0usize..300, value: u8, cut in 0usize..300) {
        let mut message = sample().compose(1).unwrap();
        let len = message.len();
        message[at % len] = value;
        message.truncate(len - cut % len);
        drop(Update::parse(&message));
    }
}
