//! From what is wanted of any clone to what one clone gets: templates expanded, everything checked.

use crate::network::Network;
use crate::source::{Source, Text};
use crate::template::Values;
use crate::wanted::{Delivery, Encoding, File, User, Wanted};
use crate::{Guest, Result, check, cmdline, hostname};

/// What one clone gets.
pub(crate) struct Plan<'a> {
    /// With strings that have been checked.
    pub wanted: &'a Wanted,
    pub guest: &'a Guest,
    pub hostname: String,
    pub network: Option<Network>,
    /// Of `wanted.files`, in their order.
    pub contents: Vec<String>,
}

impl<'a> Plan<'a> {
    pub fn new(source: Source<'_>, wanted: &'a Wanted, guest: &'a Guest) -> Result<Plan<'a>> {
        let hostname = host(source, wanted.hostname.as_ref(), guest)?;
        let values = Values { guest, hostname: Some(&hostname) };
        let network = wanted.network.as_ref();
        let network = network.map(|network| Network::new(source, network, values)).transpose()?;
        check_users(source, &wanted.users)?;
        wanted.run.iter().try_for_each(|command| source.check(command, check::command))?;
        let content = |file| content(source, file, values);
        let contents = wanted.files.iter().map(content).collect::<Result<_>>()?;
        if wanted.delivery == Delivery::Cmdline {
            cmdline::refuse_more(source, wanted, network.as_ref())?;
        }
        Ok(Plan { wanted, guest, hostname, network, contents })
    }
}

fn host(source: Source<'_>, template: Option<&Text>, guest: &Guest) -> Result<String> {
    let Some(template) = template else {
        return Ok(hostname::from_name(&guest.name));
    };
    let text = source.expand(template, Values { guest, hostname: None })?;
    hostname::check(&text).map_err(|why| {
        let what = format!("{text:?} cannot be a host name: {why}");
        source.error(template.span().start, what)
    })?;
    Ok(text)
}

fn check_users(source: Source<'_>, users: &[User]) -> Result<()> {
    for (index, user) in users.iter().enumerate() {
        source.check(&user.name, check::account)?;
        if users.iter().take(index).any(|other| other.name == user.name) {
            let what = format!("there are two users {:?}", user.name.get_ref());
            return Err(source.error(user.name.span().start, what));
        }
        user.groups.iter().try_for_each(|group| source.check(group, check::account))?;
        user.ssh_keys.iter().try_for_each(|key| source.check(key, check::ssh_key))?;
        user.shell.iter().try_for_each(|shell| source.check(shell, check::path))?;
        let hash = user.password_hash.as_ref();
        hash.map_or(Ok(()), |hash| source.check_as("this", hash, check::password_hash))?;
    }
    Ok(())
}

/// What is written to a file, in its encoding.
fn content(source: Source<'_>, file: &File, values: Values<'_>) -> Result<String> {
    source.check(&file.path, check::path)?;
    file.mode.iter().try_for_each(|mode| source.check(mode, check::mode))?;
    file.owner.iter().try_for_each(|owner| source.check(owner, check::owner))?;
    match (file.encoding, file.template) {
        (Encoding::Text, false) => Ok(file.content.get_ref().clone()),
        (Encoding::Text, true) => source.expand(&file.content, values),
        (Encoding::Base64, false) => {
            source.check(&file.content, check::base64)?;
            Ok(file.content.get_ref().clone())
        }
        (Encoding::Base64, true) => {
            let what = "base64 cannot be a template: its encoding or template must go";
            Err(source.error(file.content.span().start, what))
        }
    }
}
