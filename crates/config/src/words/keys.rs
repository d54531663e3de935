//! Keys of other programs, section by section.

/// The meaning of a foreign key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// This key of the same section.
    Key(&'static str),
    /// A key of a section within this one.
    Inside(&'static str, &'static str),
    /// The negation of this switch.
    Not(&'static str),
    /// No key: advice instead.
    Note(&'static str),
}

use Means::{Inside, Key, Not, Note};

/// weir's equivalent of a foreign key in this section.
pub(crate) fn key(section: &str, word: &str) -> Option<Means> {
    let word = super::squash(word);
    let mut rows = WORDS.iter().filter(|(of, _, _)| *of == section);
    rows.find(|(_, words, _)| words.contains(&word.as_str())).map(|(_, _, means)| *means)
}

/// Section, foreign words without case and separators, their meaning. Covers the words of HAProxy, nginx,
/// Envoy, Traefik and the clouds, common guesses, and the "not" column of docs/LEXICON.md.
#[rustfmt::skip]
const WORDS: &[(&str, &[&str], Means)] = &[
    ("File", &["frontend", "frontends", "bind", "binds", "listen", "listener", "server", "servers", "entrypoint", "entrypoints", "virtualserver", "virtualservers", "virtualhost", "virtualhosts", "ingress", "ports"], Key("listeners")),
    ("File", &["backend", "backends", "cluster", "clusters", "upstream", "upstreams", "targetgroup", "targetgroups", "service", "services", "pool", "serverpool", "serverpools"], Key("pools")),
    ("File", &["tls", "ssl", "tlsprofile", "tlscontext", "tlscontexts", "tlsoptions", "certificates", "sslprofiles"], Key("tls_profiles")),
    ("File", &["global", "process", "settings", "main"], Key("runtime")),
    ("File", &["logging", "logs", "accesslog", "logger"], Key("log")),
    ("File", &["stats", "api", "dashboard", "status", "management", "control"], Key("admin")),
    ("File", &["prometheus", "metric", "exporter", "telemetry", "probes", "healthz"], Key("metrics")),
    ("File", &["includes", "import", "imports", "includedir", "files"], Key("include")),
    ("File", &["routes", "route", "routers", "rules", "acl"], Note("routes belong in a listener, each with its `match`")),
    ("File", &["targets", "hosts", "endpoints", "nodes"], Note("backends belong in one of `pools`")),
    ("File", &["workers", "threads", "nbthread", "nbproc", "workerprocesses", "concurrency"], Inside("runtime", "workers")),
    ("File", &["maxconn", "maxconnections", "workerconnections"], Inside("runtime", "max_connections")),
    ("File", &["resolver", "resolvers", "nameservers", "dns"], Inside("runtime", "resolvers")),
    ("File", &["loglevel", "verbosity"], Inside("log", "level")),
    ("File", &["defaults", "default"], Note("there is no section of defaults; an anchor under a key that begins with x- serves several listeners")),
    ("File", &["stream", "tcp", "udp", "http", "events", "l4"], Note("listeners and pools belong at the top of the file")),
    ("File", &["version", "apiversion"], Note("weir's file has no version; leave it out")),
    ("File", &["ticketkeys", "sessionticketkeys", "secretfiles", "secrets", "sslsessionticketkey", "tlsticketkeys"], Inside("fleet", "secret_files")),
    ("File", &["acme", "letsencrypt"], Note("weir fetches no certificates: `tls_profiles` name their files")),

    ("Runtime", &["threads", "nbthread", "nbproc", "workerprocesses", "workerthreads", "concurrency", "cpus", "numworkers"], Key("workers")),
    ("Runtime", &["maxconn", "maxconns", "workerconnections", "connections"], Key("max_connections")),
    ("Runtime", &["maxmem", "memory", "memorylimit", "memlimit", "limitmemory", "maxheap"], Key("max_memory")),
    ("Runtime", &["maxage", "connectionage", "maxconnectionlifetime", "maxconnectionduration", "connectionlifetime", "maxlifetime"], Key("max_connection_age")),
    ("Runtime", &["cpuaffinity", "cpumap", "pin", "pinning", "workercpuaffinity"], Key("affinity")),
    ("Runtime", &["resolver", "nameserver", "nameservers", "dns", "dnsservers"], Key("resolvers")),
    ("Runtime", &["hardstopafter", "grace", "graceful", "gracetimeout", "graceperiod", "gracefultimeout", "drain", "draintime", "shutdowntimeout", "workershutdowntimeout"], Key("drain_timeout")),
    ("Runtime", &["reload", "autoreload", "hotreload", "watchfiles"], Key("watch")),
    ("Runtime", &["user", "group", "chroot", "daemon", "pidfile"], Note("the service manager does that: see the systemd unit in operations.md")),

    ("Log", &["loglevel", "verbosity", "severity", "filter"], Key("level")),
    ("Log", &["accesslog", "accesslogs", "records", "requests"], Key("access")),
    ("Log", &["logformat", "style"], Key("format")),
    ("Log", &["errorlog"], Note("the log goes to stderr")),
    ("Log", &["file", "path", "output", "target"], Note("the log goes to stderr; a file for access records is `access: {file: PATH}`")),

    ("AccessRecords", &["path", "output", "target", "filename", "log", "logfile"], Key("file")),
    ("AccessRecords", &["every", "period", "alive", "refresh"], Key("interval")),
    ("AccessRecords", &["start", "begin", "opens"], Key("open")),
    ("AccessRecords", &["format"], Note("`log.format` is that of the log and of the records")),

    ("Fleet", &["secrets", "secret", "secretfile", "files", "file", "keys", "key", "keyfile", "keyfiles", "ticketkeys", "sslsessionticketkey", "tlsticketkeys"], Key("secret_files")),

    ("MetricsServer", &["bind", "listen", "addr", "port", "url", "endpoint", "listenaddress"], Key("address")),
    ("Admin", &["bind", "listen", "addr", "socket", "port", "url", "endpoint", "listenaddress"], Key("address")),

    ("Listener", &["bind", "binds", "listen", "addr", "addrs", "addresses", "ip", "port", "ports", "socketaddress", "endpoint", "listenaddress"], Key("address")),
    ("Listener", &["type", "tlsmode", "sslmode", "tlstermination", "termination"], Key("mode")),
    ("Listener", &["defaultbackend", "backend", "usebackend", "upstream", "cluster", "proxypass", "pool", "defaultcluster", "defaultupstream", "fallback", "targetgroup", "forwardto", "service", "forward", "target", "destination"], Key("default_pool")),
    ("Listener", &["rule", "rules", "acl", "acls", "matches", "match", "routers", "filterchains", "locations", "location", "vhosts", "virtualhosts", "hosts", "sni"], Key("routes")),
    ("Listener", &["tlsprofile", "tlscontext", "ssl", "tlsoptions", "profile"], Key("tls")),
    ("Listener", &["sslcertificate", "sslcertificatekey", "crt", "cert", "certs", "certificate", "keypair"], Note("certificates belong in `tls`: the name of a TLS profile, or its keys")),
    ("Listener", &["timeout"], Key("timeouts")),
    ("Listener", &["limit"], Key("limits")),
    ("Listener", &["inspect", "inspectdelay", "sslpreread", "sniff", "tlsinspector"], Key("peek")),
    ("Listener", &["plaintext", "allowplaintext", "nontls"], Key("non_tls")),
    ("Listener", &["acceptproxy", "proxy", "sendproxy"], Key("proxy_protocol")),
    ("Listener", &["setrealipfrom", "trustedips", "trustedsources"], Key("trusted_proxies")),
    ("Listener", &["whitelist", "allowlist", "ipallowlist", "ipwhitelist", "allowed"], Key("allow")),
    ("Listener", &["blacklist", "denylist", "blocklist", "reject", "blocked"], Key("deny")),
    ("Listener", &["idletimeout", "timeoutclient", "clienttimeout", "timeouttunnel", "proxytimeout"], Inside("timeouts", "idle")),
    ("Listener", &["connecttimeout", "timeoutconnect", "proxyconnecttimeout"], Inside("timeouts", "connect")),
    ("Listener", &["handshaketimeout", "sslhandshaketimeout"], Inside("timeouts", "handshake")),
    ("Listener", &["prereadtimeout", "hellotimeout", "clienthellotimeout"], Inside("timeouts", "client_hello")),
    ("Listener", &["maxconn", "maxconns", "connectionlimit"], Inside("limits", "max_connections")),
    ("Listener", &["tcpnodelay"], Inside("tcp", "nodelay")),
    ("Listener", &["sokeepalive", "tcpkeepalive"], Inside("tcp", "keepalive")),
    ("Listener", &["backends", "servers", "targets", "endpoints"], Note("backends belong in one of `pools`, which `default_pool` or a route names")),

    ("Route", &["backend", "usebackend", "upstream", "cluster", "proxypass", "target", "targetgroup", "to", "service", "defaultpool", "destination", "forward", "forwardto", "pools"], Key("pool")),
    ("Route", &["if", "when", "condition", "conditions", "rule", "matches", "filterchainmatch", "acl"], Key("match")),
    ("Route", &["type", "tlsmode"], Key("mode")),
    ("Route", &["tlsprofile", "ssl", "tlscontext", "certificate"], Key("tls")),
    ("Route", &["servername", "servernames", "hostname", "hostnames", "host", "hosts", "domain", "domains", "hostsni", "name"], Inside("match", "sni")),
    ("Route", &["src", "sourceip", "cidr", "clientip"], Inside("match", "source")),
    ("Route", &["priority", "weight"], Note("the most specific route wins, wherever it is")),

    ("Match", &["authority"], Key("host")),
    ("Match", &["servername", "servernames", "hostname", "hostnames", "hosts", "domain", "domains", "name", "names", "hostsni", "sslsni", "reqsslsni", "sslprereadservername"], Key("sni")),
    ("Match", &["src", "sourceip", "sources", "clientip", "client", "ip", "remoteaddr", "remoteaddress", "cidr", "cidrs", "network", "networks", "sourceprefixranges"], Key("source")),
    ("Match", &["protocol", "protocols", "applicationprotocols", "sslalpn", "reqsslalpn"], Key("alpn")),
    ("Match", &["path", "uri", "url", "paths", "prefix", "pathbeg", "pathprefixes"], Key("path_prefix")),
    ("Match", &["headers", "hdr"], Note("header fields are in `header`, such as header: {X-Name: \"value\"}")),
    ("Match", &["methods", "verb"], Key("method")),

    ("Timeouts", &["idletimeout", "client", "server", "tunnel", "read", "write", "send", "inactivity", "proxytimeout", "timeout"], Key("idle")),
    ("Timeouts", &["connecttimeout", "dial", "dialtimeout"], Key("connect")),
    ("Timeouts", &["hello", "clienthellotimeout", "inspectdelay", "preread", "prereadtimeout", "peek"], Key("client_hello")),
    ("Timeouts", &["tls", "ssl", "tlshandshake", "handshaketimeout", "sslhandshake"], Key("handshake")),
    ("Timeouts", &["halfclose", "clientfin", "serverfin", "fin", "linger", "lingering"], Key("half_closed")),
    ("Timeouts", &["check", "health"], Note("a check's `timeout` belongs in the pool's `health_check`")),

    ("Limits", &["limitconn", "sticktable", "peraddress", "perip", "persource"], Key("per_client")),
    ("PerClient", &["conncur", "limitconn", "maxconn", "maxconnections", "inflightconn"], Key("connections")),
    ("PerClient", &["connrate", "connectionrate", "newconnections"], Key("rate")),
    ("PerClient", &["dryrun", "reportonly", "limitconndryrun"], Key("shadow")),

    ("Limits", &["maxconn", "maxconns", "connections", "connectionlimit"], Key("max_connections")),
    ("Limits", &["bwlim", "bwlimit", "speed", "throughput", "ratelimit", "limitrate", "bandwidthlimit", "bytespersecond"], Key("bandwidth")),
    ("Bandwidth", &["perconnection", "conn", "perclient", "client"], Key("connection")),
    ("Bandwidth", &["total", "all", "perlistener", "shared", "global"], Key("listener")),
    ("Limits", &["maxpending", "halfopen", "handshaking"], Key("pending")),
    ("Limits", &["hello", "maxhello", "clienthellosize"], Key("client_hello")),

    ("Tcp", &["tcpnodelay"], Key("nodelay")),
    ("Tcp", &["sokeepalive", "tcpkeepalive", "keepaliveidle"], Key("keepalive")),
    ("Tcp", &["tcpusertimeout", "tcput"], Key("user_timeout")),
    ("Tcp", &["somaxconn", "listenbacklog"], Key("backlog")),
    ("Tcp", &["tfo", "tcpfastopen", "fastopen"], Key("fast_open")),
    ("Tcp", &["ipfreebind"], Key("freebind")),

    ("Pool", &["server", "servers", "target", "targets", "host", "hosts", "endpoint", "endpoints", "lbendpoints", "member", "members", "node", "nodes", "address", "addresses", "upstream", "upstreams", "backend", "instances", "loadassignment", "url", "urls"], Key("backends")),
    ("Pool", &["policy", "lbpolicy", "lb", "lbmethod", "lbalgorithm", "loadbalancing", "loadbalancer", "balancer", "method", "strategy", "algorithm", "balancing"], Key("balance")),
    ("Pool", &["proxybind", "bindaddress", "upstreambindconfig", "sourceaddress", "sourceip", "sources", "localaddress"], Key("source")),
    ("Pool", &["usesrc", "originalsrc", "tproxy", "iptransparent"], Key("transparent")),
    ("Pool", &["dnslookupfamily", "ipfamily", "addressfamily", "resolveprefer"], Key("family")),
    ("Pool", &["sendproxy", "sendproxyv2", "proxyprotocol", "proxyprotocolversion"], Key("send_proxy_protocol")),
    ("Pool", &["stickiness", "stickysession", "stickysessions", "sessionaffinity", "sessionpersistence", "persistence", "affinity"], Key("sticky")),
    ("Sticky", &["appcookiename", "applicationcookie", "appsession", "sessioncookie", "learn"], Key("app_cookie")),
    ("Sticky", &["headername", "field", "hdr"], Key("header")),
    ("Sticky", &["ttl", "expires", "maxage", "cookieexpirationperiod", "durationseconds"], Key("duration")),
    ("Sticky", &["name", "cookiename"], Inside("cookie", "name")),
    ("StickyCookie", &["ttl", "expires", "maxage", "expiry", "lifetime", "cookieexpirationperiod", "durationseconds"], Key("duration")),
    ("StickyCookie", &["secure", "httponly", "samesite", "path", "domain"], Note("weir's cookie is Secure, HttpOnly, SameSite=Lax, with Path=/, and of one host")),
    ("Pool", &["check", "checks", "health", "healthcheck", "healthchecks", "activecheck", "healthcheckers", "httpchk", "tcpcheck", "probe"], Key("health_check")),
    ("Pool", &["outlierdetection", "outlier", "passive", "passivehealthcheck", "observe", "circuitbreaker"], Key("passive_check")),
    ("Pool", &["ssl", "tlscontext", "transportsocket", "upstreamtls", "sslbackend", "proxyssl", "serverstransport"], Key("tls")),
    ("Pool", &["sslverify", "proxysslverify"], Inside("tls", "verify")),
    ("Pool", &["insecureskipverify", "insecure", "skipverify", "tlsskipverify"], Note("write `tls: {verify: false}`")),
    ("Pool", &["cafile", "cacert", "trustedca", "proxyssltrustedcertificate"], Inside("tls", "ca")),
    ("Pool", &["proxysslname"], Inside("tls", "server_name")),
    ("Pool", &["retry", "maxretries", "numretries", "redispatch", "nexttries"], Key("retries")),
    ("Pool", &["warmup", "slowstartwindow", "slowramp"], Key("slow_start")),
    ("Pool", &["panic", "healthypanicthreshold"], Key("panic_threshold")),
    ("Pool", &["hashbalancefactor", "hashbalance"], Key("bounded_load")),
    ("Pool", &["draintime", "deregistrationdelay", "connectiondraining"], Key("drain_timeout")),
    ("Pool", &["onmarkeddown", "closeonunhealthy"], Key("on_unhealthy")),
    ("Pool", &["id", "label"], Key("name")),
    ("Pool", &["maxconn", "maxconnections"], Note("each backend has its own `max_connections`")),
    ("Pool", &["rebalancing", "redistribute", "spread", "evenout"], Key("rebalance")),
    ("Pool", &["connecttimeout", "timeout", "timeouts"], Note("`timeouts` belong in the listener; a check's `timeout` in `health_check`")),
    ("Pool", &["mode"], Note("`mode` belongs in the listener or route")),

    ("BackendFields", &["addr", "url", "server", "host", "hostname", "ip", "endpoint", "target", "socketaddress", "uri"], Key("address")),
    ("BackendFields", &["id", "label"], Key("name")),
    ("BackendFields", &["maxconn", "maxconns", "connections", "limit"], Key("max_connections")),
    ("BackendFields", &["standby", "spare", "fallback", "reserve"], Key("backup")),
    ("BackendFields", &["loadbalancingweight", "share"], Key("weight")),
    ("BackendFields", &["port"], Note("the port is part of `address`: \"10.0.0.11:8080\"")),
    ("BackendFields", &["check", "healthcheck", "health"], Note("checks are the pool's: `health_check`")),
    ("BackendFields", &["tls", "ssl", "verify", "ca", "sni"], Note("TLS is the pool's: `tls`")),
    ("BackendFields", &["down", "disabled", "drain", "enabled"], Note("a backend that gets no new connections has `weight: 0`")),
    ("BackendFields", &["priority", "tier"], Note("there are two tiers: backends with `backup: true` serve when no other can")),

    ("HealthCheck", &["kind", "protocol", "mode", "check"], Key("type")),
    ("HealthCheck", &["method", "httpmethod", "verb", "requestmethod"], Note("the method of a check is weir's own; `path`, `host` and `status` set the request and the expected answer")),
    ("HealthCheck", &["uri", "url", "httppath", "endpoint", "target"], Key("path")),
    ("HealthCheck", &["expect", "expected", "expectstatus", "code", "codes", "statuscode", "statuscodes", "expectedstatuses", "httpstatus", "match", "matcher"], Key("status")),
    ("HealthCheck", &["inter", "every", "period", "periodseconds", "checkinterval"], Key("interval")),
    ("HealthCheck", &["timeoutcheck", "timeoutseconds", "checktimeout"], Key("timeout")),
    ("HealthCheck", &["healthythreshold", "healthy", "passes", "successthreshold", "successes"], Key("rise")),
    ("HealthCheck", &["unhealthythreshold", "unhealthy", "fails", "maxfails", "failurethreshold", "failures", "retries"], Key("fall")),
    ("HealthCheck", &["sni", "tlsname", "checksni"], Key("server_name")),
    ("HealthCheck", &["hostname", "hosthdr", "hostheader"], Key("host")),
    ("HealthCheck", &["tls", "ssl", "https", "scheme"], Note("a check speaks TLS where the pool has `tls`; `type: tls` asks for a handshake alone")),

    ("PassiveCheck", &["maxfails", "fails", "errors", "errorlimit", "consecutive5xx", "consecutiveerrors", "consecutivegatewayfailure", "threshold"], Key("failures")),
    ("PassiveCheck", &["failtimeout", "interval", "within", "period"], Key("window")),
    ("PassiveCheck", &["baseejectiontime", "ejectiontime", "ejecttime", "duration", "ejectfor"], Key("eject")),
    ("PassiveCheck", &["maxejectionpercent", "maxejection"], Key("max_ejected")),
    ("PassiveCheck", &["enabled", "type"], Note("it is on by default; `passive_check: null` turns it off")),

    ("PoolTls", &["cafile", "cacert", "cacertificate", "cacertificates", "cas", "trustedca", "rootca", "rootcas", "roots", "trust", "trustedcertificates", "ssltrustedcertificate", "proxyssltrustedcertificate", "certificateauthority"], Key("ca")),
    ("PoolTls", &["sni", "hostname", "host", "name", "proxysslname", "verifyhost", "verifyname"], Key("server_name")),
    ("PoolTls", &["verifypeer", "verifycertificate", "sslverify", "proxysslverify", "validate"], Key("verify")),
    ("PoolTls", &["insecureskipverify", "insecure", "skipverify", "tlsskipverify", "trustall", "novalidate"], Not("verify")),
    ("PoolTls", &["mintlsversion", "minprotocolversion", "tlsminimumprotocolversion", "sslminver", "minversion", "protocols", "sslprotocols", "proxysslprotocols", "version", "tlsversion"], Key("min_version")),
    ("PoolTls", &["alpnprotocols"], Key("alpn")),
    ("PoolTls", &["cert", "crt", "certificate", "certificates", "clientcertificate", "proxysslcertificate", "proxysslcertificatekey", "key"], Note("weir's own certificate is a section: `client_cert: {cert: weir.pem, key: weir.key}`")),
    ("PoolTls", &["pins", "pin", "pinnedpubkey", "pinsha256", "publickeypins", "spki", "verifycertificatespki", "fingerprint", "fingerprints"], Key("pinned")),
    ("PoolTls", &["crls", "crlfile", "proxysslcrl", "sslcrl", "revocation", "revocationlist", "revoked"], Key("crl")),

    ("ClientCert", &["crt", "certificate", "sslcertificate", "pem", "certfile", "certificatefile", "certificatechain", "chain", "fullchain", "public"], Key("cert")),
    ("ClientCert", &["privatekey", "keyfile", "sslcertificatekey", "privkey", "private"], Key("key")),

    ("Profile", &["certificate", "cert", "certs", "crt", "crts", "pem", "sslcertificate", "keypair", "keypairs", "tlscertificates", "bindcrt"], Key("certificates")),
    ("Profile", &["sslcertificatekey", "key", "privatekey", "keyfile"], Note("cert and key belong together: `certificates: [{cert: a.pem, key: a.key}]`")),
    ("Profile", &["mintlsversion", "minprotocolversion", "tlsminimumprotocolversion", "sslminver", "protocolversions", "sslprotocols", "protocols", "version", "tlsversion"], Key("min_version")),
    ("Profile", &["alpnprotocols", "nextprotos"], Key("alpn")),
    ("Profile", &["strictsni", "snistrict", "snifallback", "unknownname"], Key("unknown_sni")),
    ("Profile", &["session", "resumption", "sessionresumption"], Key("sessions")),
    ("Profile", &["sessiontickets", "sslsessiontickets", "tickets"], Inside("sessions", "tickets")),
    ("Profile", &["sslsessiontimeout", "sessiontimeout"], Inside("sessions", "ticket_lifetime")),
    ("Profile", &["clientca", "cafile", "ca", "sslclientcertificate", "trustedca", "cafiles"], Inside("client_auth", "ca")),
    ("Profile", &["verify", "sslverifyclient", "requireclientcertificate", "clientauthtype"], Inside("client_auth", "mode")),
    ("Profile", &["crl", "crlfile", "sslcrl"], Inside("client_auth", "crl")),
    ("Profile", &["mtls", "mutualtls", "clientcert", "clientcertificate", "clientcertificates", "mutualauthentication"], Key("client_auth")),
    ("Profile", &["ciphers", "cipherlist", "sslciphers", "sslconfciphersuites", "tls13ciphersuites"], Key("cipher_suites")),
    ("Profile", &["curves", "eccurves", "ecdhcurve", "ecdhcurves", "sslecdhcurve", "curvepreferences", "supportedgroups", "keyexchange"], Key("groups")),

    ("ClientAuth", &["cafile", "cafiles", "cas", "sslclientcertificate", "clientca", "trustedca", "roots", "authorities", "secretnames", "cert", "certificate", "certificates"], Key("ca")),
    ("ClientAuth", &["verify", "type", "clientauthtype", "sslverifyclient", "policy"], Key("mode")),
    ("ClientAuth", &["crlfile", "crls", "sslcrl", "revoked", "revocation"], Key("crl")),
    ("ClientAuth", &["name", "allow", "allowed", "subjects", "san", "sans", "matchtypedsubjectaltnames", "subjectaltnames", "users", "clients"], Key("names")),
    ("ClientAuth", &["optional", "required"], Note("`mode: required` or `mode: optional`")),
    ("Certificate", &["crt", "certificate", "sslcertificate", "pem", "certfile", "certificatefile", "certificatechain", "chain", "fullchain", "public"], Key("cert")),
    ("Certificate", &["privatekey", "keyfile", "sslcertificatekey", "privkey", "private"], Key("key")),

    ("Sessions", &["sessiontickets", "ticket", "sslsessiontickets"], Key("tickets")),
    ("Sessions", &["lifetime", "timeout", "sessiontimeout", "ticketlife"], Key("ticket_lifetime")),
    ("Sessions", &["cachesize", "sessioncache", "sslsessioncache", "size"], Key("cache")),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use serde_json::Value as Json;

    use super::*;
    use crate::shape;
    use crate::words::squash;

    #[test]
    fn all_rows_lead_to_known_keys() {
        let mut seen = HashSet::new();
        for (section, words, means) in WORDS {
            let known = shape::keys(section);
            assert!(!known.is_empty(), "{section} is no section");
            let has = |key: &str| assert!(known.contains(&key), "{section} has no {key}");
            match means {
                Key(key) | Not(key) => has(key),
                Inside(inner, key) => {
                    has(inner);
                    let Some(shape::Kind::Section(inner)) = shape::kind(section, inner) else {
                        panic!("{section}.{inner} is no section")
                    };
                    assert!(shape::keys(inner).contains(key), "{inner} has no {key}");
                }
                Note(_) => {}
            }
            for word in *words {
                assert_eq!(*word, squash(word), "write it without case and separators");
                assert!(seen.insert((section, word)), "{section}: {word} stands twice");
                let own = known.iter().any(|key| squash(key) == *word);
                assert!(
                    !own || matches!(means, Key(key) if squash(key) == *word),
                    "{section} has the key {word}"
                );
            }
        }
    }

    /// The first section of the configuration at this path that has the key: `listeners[].timeouts`.
    fn section<'v>(
        value: &'v mut Json,
        path: &str,
        key: &str,
    ) -> Option<&'v mut serde_json::Map<String, Json>> {
        if path.is_empty() {
            return value
                .as_object_mut()
                .filter(|fields| fields.get(key).is_some_and(|value| !value.is_null()));
        }
        let (head, rest) = path.split_once('.').unwrap_or((path, ""));
        match value.get_mut(head.trim_end_matches("[]"))? {
            Json::Array(list) => list.iter_mut().find_map(|one| section(one, rest, key)),
            one => section(one, rest, key),
        }
    }

    #[test]
    fn all_words_with_a_right_value_lead_to_their_key() {
        let read =
            |text: String| crate::parse("weir.yaml", Path::new("."), text.into_bytes(), &|_| None).unwrap();
        let reference = include_str!("../../../../docs/reference.yaml");
        let full = crate::effective(&read(reference.to_owned()).file);
        let (mut tried, mut missed) = (0, Vec::new());
        for (name, words, means) in WORDS {
            let Key(key) = means else { continue };
            for word in *words {
                let mut changed = full.clone();
                let found = shape::path_of(name).and_then(|path| section(&mut changed, path, key));
                let Some(fields) = found else {
                    missed.push((name, key));
                    break;
                };
                let value = fields.remove(*key).unwrap();
                fields.insert((*word).to_owned(), value);
                let loaded = read(changed.to_string());
                let errors = loaded.report().finish().errors;
                let [only] = errors.as_slice() else { panic!("{name}: {word}: {errors:#?}") };
                assert_eq!(only.message, format!("unknown key `{word}`"));
                let hint = only.hint.clone().unwrap_or_default();
                assert_eq!(hint, format!("did you mean `{key}`?"), "{name}: {word}");
                tried += 1;
            }
        }
        assert!(tried > 250, "only {tried} words");
        // The reference lacks these, or has them only as comments.
        missed.dedup();
        assert!(missed.len() <= 12, "{missed:?}");
    }
}
