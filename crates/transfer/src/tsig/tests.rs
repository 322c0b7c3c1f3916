use zonemesh_zone::domain;
use zonemesh_zone::record::parse_name;

use super::*;
use crate::query::{Question, Request};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

const NOW: i64 = 1_800_000_000;

fn key(algorithm: Algorithm) -> Key {
    Key::from_base64(
        parse_name("Transfer.Key").unwrap(),
        algorithm,
        "c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzLi4uLi4=",
    )
    .unwrap()
}

fn keys(algorithm: Algorithm) -> Keys {
    let mut keys = Keys::new();
    keys.insert(key(algorithm));
    keys
}

fn request() -> Vec<u8> {
    Request::new(77, parse_name("example.com").unwrap(), Question::Axfr)
        .with_edns()
        .compose()
}

/// Numbered answers to the request.
fn answer(number: u8) -> Vec<u8> {
    let mut message = crate::query::reply(&request(), Rcode::NOERROR, None).unwrap();
    message[3] |= number << 4;
    message
}

#[test]
fn signed_requests_and_many_answers_are_verified_with_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let mut message = request();
        let mut verifier = key(algorithm).sign_request(&mut message, at(NOW));
        assert!(message.len() <= request().len() + key(algorithm).max_len());
        let verified = keys(algorithm)
            .verify_request(&message, at(NOW + 299))
            .unwrap()
            .unwrap();
        assert_eq!(verified.message, request());
        assert_eq!(verified.key, parse_name("transfer.key").unwrap());
        let mut signer = verified.signer;
        for number in 0..4 {
            let mut reply = answer(number);
            signer.sign(&mut reply, at(NOW + i64::from(number)));
            assert_eq!(verifier.verify(&reply, at(NOW)).unwrap(), answer(number));
        }
        verifier.finish().unwrap();
    }
}

#[test]
fn the_library_and_we_verify_each_other() {
    use domain::base::{Message, MessageBuilder};
    use domain::rdata::tsig::Time48;
    use domain::tsig;
    let secret = b"a secret of some length, not a good one";
    let name = "key.example";
    let theirs = tsig::Key::new(
        tsig::Algorithm::Sha256,
        secret,
        name.parse().unwrap(),
        None,
        None,
    )
    .unwrap();
    let ours = Key::new(parse_name(name).unwrap(), Algorithm::HmacSha256, secret).unwrap();
    let mut keys = Keys::new();
    keys.insert(ours.clone());
    let time = Time48::from_u64(NOW as u64);

    // They ask, we answer in three messages.
    let mut builder = MessageBuilder::new_vec().additional();
    let mut sequence = tsig::ClientSequence::request(&theirs, &mut builder, time).unwrap();
    let asked = builder.finish();
    let mut verified = keys.verify_request(&asked, at(NOW)).unwrap().unwrap();
    for _ in 0..3 {
        let mut reply = crate::query::reply(&verified.message, Rcode::NOERROR, None).unwrap();
        verified.signer.sign(&mut reply, at(NOW));
        let mut reply = Message::from_octets(reply).unwrap();
        sequence.answer(&mut reply, time).unwrap();
    }
    sequence.done().unwrap();

    // We ask, they answer in three messages.
    let mut asked = request();
    let mut verifier = ours.sign_request(&mut asked, at(NOW));
    let mut asked = Message::from_octets(asked).unwrap();
    let mut sequence = tsig::ServerSequence::request(&&theirs, &mut asked, time)
        .unwrap()
        .unwrap();
    for _ in 0..3 {
        let mut builder = MessageBuilder::new_vec().additional();
        sequence.answer(&mut builder, time).unwrap();
        verifier.verify(&builder.finish(), at(NOW)).unwrap();
    }
    verifier.finish().unwrap();
}

#[test]
fn unsigned_messages_between_signed_ones_are_taken_up_to_a_bound() {
    let exchange = |unsigned: usize, last_signed: bool| {
        let mut message = request();
        let mut verifier = key(Algorithm::HmacSha256).sign_request(&mut message, at(NOW));
        let mut signer = keys(Algorithm::HmacSha256)
            .verify_request(&message, at(NOW))
            .unwrap()
            .unwrap()
            .signer;
        let mut first = answer(0);
        signer.sign(&mut first, at(NOW));
        verifier.verify(&first, at(NOW))?;
        for _ in 0..unsigned {
            signer.digest.update(&answer(1));
            verifier.verify(&answer(1), at(NOW))?;
        }
        if last_signed {
            let mut last = answer(2);
            signer.sign(&mut last, at(NOW));
            verifier.verify(&last, at(NOW))?;
        }
        verifier.finish()
    };
    assert_eq!(exchange(0, true), Ok(()));
    assert_eq!(exchange(99, true), Ok(()));
    assert_eq!(exchange(100, true), Err(TsigError::TooManyUnsigned));
    assert_eq!(exchange(1, false), Err(TsigError::TooManyUnsigned));
}

#[test]
fn changed_reordered_and_unsigned_answers_are_refused() {
    let mut message = request();
    let verifier = || key(Algorithm::HmacSha256).sign_request(&mut request(), at(NOW));
    key(Algorithm::HmacSha256).sign_request(&mut message, at(NOW));
    let mut signer = keys(Algorithm::HmacSha256)
        .verify_request(&message, at(NOW))
        .unwrap()
        .unwrap()
        .signer;
    let (mut first, mut second) = (answer(0), answer(1));
    signer.sign(&mut first, at(NOW));
    signer.sign(&mut second, at(NOW));

    let mut changed = first.clone();
    changed[13] ^= 0x20;
    assert_eq!(
        verifier().verify(&changed, at(NOW)),
        Err(TsigError::BadSignature)
    );
    assert_eq!(
        verifier().verify(&second, at(NOW)),
        Err(TsigError::BadSignature)
    );
    assert!(matches!(
        verifier().verify(&answer(0), at(NOW)),
        Err(TsigError::Unsigned(_))
    ));
    let mut in_order = verifier();
    in_order.verify(&first, at(NOW)).unwrap();
    assert_eq!(
        in_order.verify(&first, at(NOW)),
        Err(TsigError::BadSignature)
    );
    assert!(matches!(
        verifier().verify(&first, at(NOW + 301)),
        Err(TsigError::BadTime { .. })
    ));
}

/// The key of the tests with signatures cut to so many bits.
fn cut(bits: usize) -> Key {
    let method: Method = format!("hmac-sha256-{bits}").parse().unwrap();
    let secret = "c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzLi4uLi4=";
    Key::from_base64(parse_name("transfer.key").unwrap(), method, secret).unwrap()
}

#[test]
fn truncated_signatures_are_taken_down_to_what_the_key_says_and_no_further() {
    let exchange = |asker: &Key, server: Key| {
        let mut keys = Keys::new();
        keys.insert(server);
        let mut message = request();
        let mut verifier = asker.sign_request(&mut message, at(NOW));
        match keys.verify_request(&message, at(NOW)) {
            Ok(verified) => {
                let mut signer = verified.unwrap().signer;
                for number in 0..3 {
                    let mut reply = answer(number);
                    signer.sign(&mut reply, at(NOW));
                    verifier.verify(&reply, at(NOW))?;
                }
                verifier.finish()
            }
            Err(refusal) => {
                assert_eq!(refusal.error, TsigError::Truncated);
                let reply = refusal.reply.unwrap();
                assert_eq!(Header::read(&reply).unwrap().rcode(), 9, "NOTAUTH");
                verifier.verify(&reply, at(NOW)).map(drop)
            }
        }
    };
    let whole = key(Algorithm::HmacSha256);
    assert_eq!(exchange(&cut(128), cut(128)), Ok(()));
    assert_eq!(
        exchange(&cut(192), cut(128)).unwrap_err(),
        TsigError::Truncated
    );
    assert_eq!(exchange(&whole, whole.clone()), Ok(()));
    // The server wants all of it and says so in a signed answer.
    assert_eq!(
        exchange(&cut(248), whole.clone()),
        Err(TsigError::PeerOther(22))
    );
    // Its answers are cut and the asker wants all of them.
    assert_eq!(exchange(&whole, cut(128)), Err(TsigError::Truncated));
}

#[test]
fn methods_are_written_and_read_with_the_bits_that_are_possible() {
    for text in [
        "hmac-sha224",
        "hmac-sha256-128",
        "hmac-sha512-256",
        "hmac-sha1-80",
    ] {
        assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
    }
    assert_eq!(
        "hmac-sha256-256".parse(),
        Ok(Method::from(Algorithm::HmacSha256))
    );
    for text in [
        "hmac-sha256-120",
        "hmac-sha256-264",
        "hmac-sha256-129",
        "hmac-sha1-72",
        "hmac-sha512-0",
    ] {
        let error = text.parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("cannot be cut to"), "{text}: {error}");
    }
    assert!("hmac-md5-128".parse::<Method>().is_err());
}

#[test]
fn a_repeated_request_is_refused_with_a_signed_badtime() {
    let mut message = request();
    let mut verifier = key(Algorithm::HmacSha256).sign_request(&mut message, at(NOW));
    let verified = keys(Algorithm::HmacSha256)
        .verify_request(&message, at(NOW + 5))
        .unwrap()
        .unwrap();
    let mut reply = crate::query::reply(&verified.message, Rcode::NOTAUTH, None).unwrap();
    let Verified { signer, stamp, .. } = verified;
    signer.sign_bad_time(&mut reply, &stamp, at(NOW + 5));
    let told = verifier.verify(&reply, at(NOW)).unwrap_err();
    let (theirs, ours) = (NOW as u64 + 5, NOW as u64);
    assert_eq!(told, TsigError::PeerBadTime { theirs, ours });
}

/// What the asker learns when its request is refused.
fn refused(sign_with: &Key, have: &Keys, signed: i64, now: i64) -> (TsigError, TsigError) {
    let mut message = request();
    let mut verifier = sign_with.sign_request(&mut message, at(signed));
    let refusal = have.verify_request(&message, at(now)).unwrap_err();
    let reply = refusal.reply.unwrap();
    assert_eq!(Header::read(&reply).unwrap().rcode(), 9, "NOTAUTH");
    (
        refusal.error,
        verifier.verify(&reply, at(signed)).unwrap_err(),
    )
}

#[test]
fn each_refusal_tells_both_sides_what_is_wrong() {
    let good = key(Algorithm::HmacSha256);
    let have = keys(Algorithm::HmacSha256);

    let (ours, theirs) = refused(&good, &Keys::new(), NOW, NOW);
    assert!(matches!(ours, TsigError::UnknownKey { .. }));
    assert!(matches!(theirs, TsigError::PeerUnknownKey(_)));

    // The same name with another algorithm is another key.
    let (ours, _) = refused(&key(Algorithm::HmacSha512), &have, NOW, NOW);
    assert!(matches!(ours, TsigError::UnknownKey { .. }));

    let other = Key::new(good.name().clone(), Algorithm::HmacSha256, &[1; 32]).unwrap();
    let (ours, theirs) = refused(&other, &have, NOW, NOW);
    assert_eq!(ours, TsigError::BadSignature);
    assert!(matches!(theirs, TsigError::PeerBadSignature(_)));

    let (ours, theirs) = refused(&good, &have, NOW - 4000, NOW);
    assert!(
        ours.to_string().contains("the clocks are 4000 s apart")
            && ours.to_string().contains("Z by ours"),
        "{ours}"
    );
    assert!(
        theirs.to_string().contains("the clocks are 4000 s apart")
            && theirs.to_string().contains("Z (it answered"),
        "{theirs}"
    );
}

#[test]
fn misplaced_and_malformed_records_are_form_errors() {
    let mut message = request();
    key(Algorithm::HmacSha256).sign_request(&mut message, at(NOW));
    let keys = keys(Algorithm::HmacSha256);
    let form_error = |message: &[u8]| {
        let refusal = keys.verify_request(message, at(NOW)).unwrap_err();
        assert!(matches!(refusal.error, TsigError::Malformed(_)));
        assert_eq!(Header::read(&refusal.reply.unwrap()).unwrap().rcode(), 1);
    };
    let mut twice = message.clone();
    twice.extend_from_slice(&message[request().len()..]);
    twice[11] += 1;
    form_error(&twice);
    form_error(&message[..message.len() - 1]);
    let mut short = request();
    push_record(
        &mut short,
        key(Algorithm::HmacSha256).name().as_slice(),
        &Algorithm::HmacSha256.wire_name(),
        &Variables::new(at(NOW)),
        &[1; 9],
        77,
    );
    form_error(&short);
}

#[test]
fn names_of_keys_and_algorithms_are_compared_without_regard_to_case() {
    let mut message = request();
    let lower = Key::from_base64(
        parse_name("transfer.key").unwrap(),
        Algorithm::HmacSha256,
        "c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzLi4uLi4=",
    )
    .unwrap();
    lower.sign_request(&mut message, at(NOW));
    let place = message
        .windows(11)
        .position(|window| window == b"hmac-sha256")
        .unwrap();
    message[place] = b'H';
    assert!(
        keys(Algorithm::HmacSha256)
            .verify_request(&message, at(NOW))
            .unwrap()
            .is_some()
    );
    assert_eq!("HMAC-SHA256.".parse(), Ok(Algorithm::HmacSha256));
    assert!("hmac-md5".parse::<Algorithm>().is_err());
}

#[test]
fn secrets_are_not_printed() {
    let text = format!("{:?}", key(Algorithm::HmacSha256));
    assert_eq!(text, "Key(Transfer.Key hmac-sha256)");
}
