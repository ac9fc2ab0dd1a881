//! Errors that end the program.

use std::fmt::Display;

use anyhow::anyhow;

use super::exit::Exit;
use super::ui::{events, out};

/// An error that ends the program: what to tell the user, and the exit code.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
    /// The machine that it is about.
    peer: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit, error: error.into(), peer: None }
    }

    /// What went wrong, where it is a part of something else.
    pub fn into_error(self) -> anyhow::Error {
        self.error
    }

    /// The same, known to be about this machine.
    pub fn about(self, peer: impl ToString) -> Failure {
        Failure { peer: Some(peer.to_string()), ..self }
    }

    /// The same with this as what to do next.
    pub fn with_hint(self, hint: impl Display) -> Failure {
        Failure { error: anyhow!("{}; {hint}", self.error), ..self }
    }

    /// Tells it: to a person, and with --json to the script.
    pub fn tell(&self, audience: out::Audience) -> Exit {
        self.tell_script(audience);
        audience.error(&self.error);
        self.tell_causes();
        self.exit
    }

    /// The same where it ends one of several transfers: a person is to know which.
    pub fn tell_of_one(&self, audience: out::Audience) -> Exit {
        self.tell_script(audience);
        let text = self.error.to_string();
        match &self.peer {
            Some(peer) if !text.contains(peer) => audience.error(format_args!("{peer}: {text}")),
            _ => audience.error(text),
        }
        self.tell_causes();
        self.exit
    }

    /// What is behind it, for those who ask by -v.
    fn tell_causes(&self) {
        for cause in self.error.chain().skip(1) {
            tracing::info!("caused by: {cause}");
        }
    }

    fn tell_script(&self, audience: out::Audience) {
        if audience.json {
            let text = self.error.to_string();
            let (message, hint) = message_and_hint(&text, self.exit);
            events::error(None, self.peer.as_deref(), self.exit, message, hint);
        }
    }
}

/// What happened, and what to do next. Every message ends in the latter, behind a semicolon; where one does
/// not, because another program or the system made it, the exit code says enough for an answer.
pub fn message_and_hint(text: &str, exit: Exit) -> (&str, &str) {
    match text.rsplit_once("; ") {
        Some((message, hint)) if !message.is_empty() && !hint.is_empty() => (message, hint),
        _ => (text, exit.hint()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::handshake::EnterError;
    use crate::net::tcp::dial::{Attempts, ConnectError};
    use crate::net::tcp::listen::ListenError;

    fn parts(error: impl ToString) -> (String, String) {
        let text = error.to_string();
        let (message, hint) = message_and_hint(&text, Exit::Unreachable);
        (message.into(), hint.into())
    }

    #[test]
    fn the_next_step_is_what_stands_last() {
        let peer = || "nas".parse().unwrap();
        let addr = "127.0.0.1:7269".parse().unwrap();
        let (message, hint) = parts(EnterError::WrongCode { peer: peer() });
        assert_eq!(message, "nas does not have that code");
        assert_eq!(hint, "look at its screen and try again");
        let (message, hint) = parts(EnterError::NoCode { peer: peer() });
        assert!(message.ends_with("no code was given"), "{message}");
        assert!(hint.starts_with("send from a terminal"), "{hint}");
        let (message, hint) = parts(EnterError::Impostor { peer: peer() });
        assert!(
            message.contains("could not prove") && hint.starts_with("nothing was sent"),
            "{message} {hint}"
        );
        let (message, hint) =
            parts(ListenError::Taken { addr, source: std::io::ErrorKind::AddrInUse.into() });
        assert_eq!(message, "port 7269 is taken at 127.0.0.1:7269");
        assert!(hint.starts_with("stop what listens there"), "{hint}");
        let attempts = vec![
            (addr, std::io::ErrorKind::ConnectionRefused.into()),
            (addr, std::io::ErrorKind::TimedOut.into()),
        ];
        let (message, hint) = parts(ConnectError::Unreachable { peer: peer(), attempts: Attempts(attempts) });
        assert!(message.contains("refused the connection, 127.0.0.1:7269 did not answer"), "{message}");
        assert!(hint.contains("`lanx recv`") && hint.contains("firewall"), "{hint}");
    }

    #[test]
    fn what_has_no_next_step_gets_one_from_its_exit_code() {
        let (message, hint) = parts("the system said something");
        assert_eq!(message, "the system said something");
        assert_eq!(hint, Exit::Unreachable.hint());
        for text in ["", "; ", "x; ", "; x"] {
            assert_eq!(message_and_hint(text, Exit::Other), (text, Exit::Other.hint()));
        }
    }
}
