//! Which request asks for what. No machine here: a request in, a [`Call`] or a refusal out.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http::{Request, Response};
use crate::layers::Operation;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Say what the machine is and does.
    Describe,
    /// Say what it was made of.
    MachineConfig,
    /// Stop the vCPUs and quiesce the devices.
    Pause,
    /// Let them go on.
    Resume,
    /// Press the power button.
    PowerButton,
    /// End the machine now.
    Stop,
    /// Freeze the first disk's top layer, and go on with another.
    Snapshot {
        /// The new top: an empty delta made on the one in use.
        delta: PathBuf,
    },
    /// Make the first disk longer.
    Grow {
        /// Its length from then on, bytes.
        size: u64,
    },
    /// Begin an operation on the first disk's layers.
    Begin(Operation),
    /// Say how far the last such operation is.
    Progress,
    /// Break it off.
    BreakOff,
}

/// A path, its method, and what they ask for.
struct Route {
    path: &'static str,
    method: &'static str,
    call: fn(&Request) -> Result<Call, Response>,
}

const ROUTES: [Route; 11] = [
    Route { path: "/", method: "GET", call: |_| Ok(Call::Describe) },
    Route { path: "/machine-config", method: "GET", call: |_| Ok(Call::MachineConfig) },
    Route { path: "/vm", method: "PATCH", call: set_state },
    Route { path: "/actions", method: "PUT", call: act },
    Route { path: "/offshoot/power-button", method: "PUT", call: |_| Ok(Call::PowerButton) },
    Route { path: "/offshoot/stop", method: "PUT", call: |_| Ok(Call::Stop) },
    Route { path: "/offshoot/snapshot", method: "PUT", call: snapshot },
    Route { path: "/offshoot/grow", method: "PUT", call: grow },
    Route { path: "/offshoot/layers", method: "GET", call: |_| Ok(Call::Progress) },
    Route {
        path: "/offshoot/layers",
        method: "PUT",
        call: |request| json(request).map(Call::Begin),
    },
    Route { path: "/offshoot/layers", method: "DELETE", call: |_| Ok(Call::BreakOff) },
];

/// What `request` asks for, or the refusal to send.
pub fn route(request: &Request) -> Result<Call, Response> {
    let routes = || ROUTES.iter().filter(|route| route.path == request.path);
    if let Some(route) = routes().find(|route| route.method == request.method) {
        return (route.call)(request);
    }
    match routes().next() {
        None => Err(Response::fault(404, format!("there is no {}", request.path))),
        Some(route) => {
            let message = format!("{} takes {}, not {}", route.path, route.method, request.method);
            Err(Response { allow: Some(route.method), ..Response::fault(405, message) })
        }
    }
}

fn set_state(request: &Request) -> Result<Call, Response> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Vm {
        state: Wanted,
    }
    #[derive(Deserialize)]
    enum Wanted {
        Paused,
        Resumed,
    }
    Ok(match json::<Vm>(request)?.state {
        Wanted::Paused => Call::Pause,
        Wanted::Resumed => Call::Resume,
    })
}

fn act(request: &Request) -> Result<Call, Response> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Action {
        action_type: Type,
    }
    #[derive(Deserialize)]
    enum Type {
        InstanceStart,
        FlushMetrics,
        SendCtrlAltDel,
    }
    match json::<Action>(request)?.action_type {
        // There is no keyboard; what clients want of it is a clean shutdown.
        Type::SendCtrlAltDel => Ok(Call::PowerButton),
        Type::InstanceStart => Err(Response::fault(400, "the machine was started already")),
        Type::FlushMetrics => Err(Response::fault(400, "there are no metrics")),
    }
}

fn snapshot(request: &Request) -> Result<Call, Response> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Snapshot {
        delta: PathBuf,
    }
    let delta = json::<Snapshot>(request)?.delta;
    match delta.is_absolute() {
        true => Ok(Call::Snapshot { delta }),
        false => Err(Response::fault(400, "the delta's path is not absolute")),
    }
}

fn grow(request: &Request) -> Result<Call, Response> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Grow {
        size: u64,
    }
    json::<Grow>(request).map(|Grow { size }| Call::Grow { size })
}

fn json<T: DeserializeOwned>(request: &Request) -> Result<T, Response> {
    serde_json::from_slice(&request.body)
        .map_err(|error| Response::fault(400, format!("cannot understand the body: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, path: &str, body: &str) -> Result<Call, u16> {
        let request = Request {
            method: method.into(),
            path: path.into(),
            body: body.into(),
            keep_alive: true,
        };
        route(&request).map_err(|response| response.status)
    }

    #[test]
    fn firecrackers_requests_mean_the_same_here() {
        assert_eq!(ask("GET", "/", ""), Ok(Call::Describe));
        assert_eq!(ask("GET", "/machine-config", ""), Ok(Call::MachineConfig));
        assert_eq!(ask("PATCH", "/vm", r#"{"state":"Paused"}"#), Ok(Call::Pause));
        assert_eq!(ask("PATCH", "/vm", r#"{"state": "Resumed"}"#), Ok(Call::Resume));
        let action = r#"{"action_type": "SendCtrlAltDel"}"#;
        assert_eq!(ask("PUT", "/actions", action), Ok(Call::PowerButton));
        assert_eq!(ask("PUT", "/actions", r#"{"action_type": "InstanceStart"}"#), Err(400));
    }

    #[test]
    fn own_requests_need_no_body() {
        assert_eq!(ask("PUT", "/offshoot/stop", ""), Ok(Call::Stop));
        assert_eq!(ask("PUT", "/offshoot/power-button", ""), Ok(Call::PowerButton));
    }

    #[test]
    fn a_snapshot_is_told_its_delta() {
        let call = Call::Snapshot { delta: "/vms/1/delta".into() };
        assert_eq!(ask("PUT", "/offshoot/snapshot", r#"{"delta":"/vms/1/delta"}"#), Ok(call));
        for body in ["", "{}", r#"{"delta":"delta"}"#, r#"{"delta":"/d","x":1}"#] {
            assert_eq!(ask("PUT", "/offshoot/snapshot", body), Err(400), "{body}");
        }
    }

    #[test]
    fn layers_take_several_methods() {
        assert_eq!(ask("GET", "/offshoot/layers", ""), Ok(Call::Progress));
        assert_eq!(ask("DELETE", "/offshoot/layers", ""), Ok(Call::BreakOff));
        let flatten = Ok(Call::Begin(Operation::Flatten {}));
        assert_eq!(ask("PUT", "/offshoot/layers", r#"{"operation":"flatten"}"#), flatten);
        assert_eq!(ask("PUT", "/offshoot/layers", r#"{"operation":"shred"}"#), Err(400));
        assert_eq!(ask("POST", "/offshoot/layers", ""), Err(405));
    }

    #[test]
    fn unknown_path_wrong_method_and_bad_body_are_told_apart() {
        assert_eq!(ask("GET", "/nothing", ""), Err(404));
        assert_eq!(ask("GET", "/vm/", ""), Err(404));
        assert_eq!(ask("POST", "/vm", ""), Err(405));
        for body in ["", "{}", "[]", r#"{"state":"Off"}"#, r#"{"state":"Paused","x":1}"#, "\u{1}"] {
            assert_eq!(ask("PATCH", "/vm", body), Err(400), "{body}");
        }
    }

    #[test]
    fn wrong_method_is_told_the_right_one() {
        let request =
            Request { method: "GET".into(), path: "/vm".into(), body: vec![], keep_alive: true };
        assert_eq!(route(&request).unwrap_err().allow, Some("PATCH"));
    }
}
