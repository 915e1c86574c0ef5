// SPDX-License-Identifier: Apache-2.0

package main

// All caches hold more than they are asked for, and all of it for longer than a run: what is compared is their code, not their
// size. Each has one thread for queries, as it has one core. Nothing is logged, nothing validated.

// coreDNSConf has the options of a usual block for the cluster, with stock CoreDNS's plugins, and defaultConf those of the default
// template's.
const coreDNSConf = coreDNSCache + `
    forward . 192.168.9.2 {
        force_tcp
        read_timeout 500ms
        max_connect_attempts 6
        expire 5s
        max_idle_conns 16
        max_age 30s
        max_fails 0
        max_concurrent 1000
    }
}
`

const defaultConf = coreDNSCache + `
    keep
    searchpath cluster.local
    fairshare 1000
    hedge . 192.168.9.2
}
`

const coreDNSCache = `. {
    bind 169.254.20.10
    errors
    prometheus :9253
    PACKETCACHE
    cache {
        success 250000 3600
        denial 250000 3600
        servfail 0
        prefetch 2 1m 20%
        serve_stale 1h verify 700ms 5s 5s
    }`

const unboundConf = `server:
    interface: 169.254.20.10
    access-control: 0.0.0.0/0 allow
    num-threads: 1
    module-config: "iterator"
    msg-cache-size: 256m
    rrset-cache-size: 256m
    outgoing-range: 4096
    num-queries-per-thread: 2048
    incoming-num-tcp: 64
    do-daemonize: no
    do-ip6: no
    use-syslog: no
    logfile: ""
    username: ""
    chroot: ""
    directory: ""
    pidfile: ""
remote-control:
    control-enable: no
forward-zone:
    name: "."
    forward-addr: 192.168.9.2
`

const dnsmasqConf = `listen-address=169.254.20.10
bind-interfaces
server=192.168.9.2
cache-size=250000
dns-forward-max=1000
user=root
pid-file=
no-resolv
no-hosts
no-poll
log-facility=/dev/null
`

const dnsdistConf = `setLocal("169.254.20.10:53")
setACL("0.0.0.0/0")
setSecurityPollSuffix("")
newServer({address="192.168.9.2:53", healthCheckMode="up", sockets=4}):setUp()
setMaxUDPOutstanding(65535)
getPool(""):setCache(newPacketCache(250000, {maxTTL=86400}))
`

const kresdConf = `net.listen("169.254.20.10", 53)
log_level("crit")
trust_anchors.remove(".")
for _, name in ipairs({"ta_update", "ta_signal_query", "ta_sentinel", "priming", "detect_time_skew", "detect_time_jump"}) do
    modules.unload(name)
end
cache.open(200 * MB, "lmdb://cache")
policy.add(policy.all(policy.STUB("192.168.9.2")))
`
