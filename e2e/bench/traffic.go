// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// traffic measures what the program at the pod's interface takes from the pod's other traffic: iperf3 sends both ways, without
// the program and with it in turn. It prints and does not judge. The throughput of iperf3 differs from run to run by more than the
// program can take. So the kernel also counts the program's own time. The count includes the reading of a clock for each packet.
func traffic(args []string) error {
	flags := flag.NewFlagSet("traffic", flag.ExitOnError)
	rounds := flags.Int("rounds", 10, "`NUMBER` of times that everything is measured")
	seconds := flags.Int("seconds", 2, "`SECONDS` that a measurement takes")
	_ = flags.Parse(args) // exits
	return harness.With(func(h *harness.Host) {
		ratios := map[string][]float64{}
		for round := range *rounds {
			with, without := "kernel", "nodelocaldns"
			first, second := with, without
			if round%2 == 1 {
				first, second = second, first
			}
			got := map[string]map[string]float64{first: throughput(h, first, *seconds), second: throughput(h, second, *seconds)}
			for way := range ways {
				ratio := got[with][way] / got[without][way]
				ratios[way] = append(ratios[way], ratio)
				fmt.Printf("round %2d, %s: %.2f Gbit/s without, ÷ %.3f with\n", round+1, way, got[without][way]/1e9, ratio)
			}
		}
		for way, all := range ratios {
			slices.Sort(all)
			fmt.Printf("%s: with ÷ without, median %.3f (%.3f to %.3f) of %d rounds\n", way, all[len(all)/2], all[0], all[len(all)-1], len(all))
		}
		counting, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
		must(h, err)
		defer counting.Close()
		throughput(h, "kernel", *seconds)
	})
}

// ways has the options of iperf3 for each direction.
var ways = map[string][]string{"from the pod": nil, "to the pod": {"-R"}}

// throughput is in bits a second, by direction, while the server of that name answers the pod's queries.
func throughput(h *harness.Host, name string, seconds int) map[string]float64 {
	one := &contestant{Host: &harness.Host{}, server: servers[slices.Index(serverNames(), name)]}
	defer one.End()
	bits := map[string]float64{}
	err := one.Do(func() {
		one.start()
		one.generate(task{Load: "hits", InFlight: 1, Time: 200 * time.Millisecond, Warm: warmUp}) // the program is at the interface then
		const port = "5201"
		process.Start(one.Host, one.node, process.Command{Path: harness.Which(one.Host, "iperf3"), Args: []string{"-s", "-p", port}, Env: environment(nil)})
		for way, option := range ways {
			before, begin := programStats(one.Host), time.Now()
			args := append([]string{"-c", nodeIP, "-p", port, "-J", "-t", fmt.Sprint(seconds), "--connect-timeout", "1000"}, option...)
			harness.Until(one.Host, time.Duration(seconds+10)*time.Second, "iperf3 "+way, func() (err error) {
				bits[way], err = one.iperf(args)
				return err
			})
			if after := programStats(one.Host); after.Runtime > before.Runtime {
				runs, took := after.RunCount-before.RunCount, after.Runtime-before.Runtime
				fmt.Printf("%s: the program takes %d ns a packet of %d, %.2f %% of the time\n", way, took.Nanoseconds()/int64(runs), runs, 100*took.Seconds()/time.Since(begin).Seconds())
			}
		}
	})
	must(h, err)
	return bits
}

// programStats has the time of the caches' programs, of all that the kernel has. Without EnableStats it is 0.
func programStats(h *harness.Host) (all ebpf.ProgramStats) {
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // it has ended
		}
		if info, err := program.Info(); err == nil && info.Name == kernelProgram {
			stats, err := program.Stats()
			must(h, err)
			all.Runtime += stats.Runtime
			all.RunCount += stats.RunCount
		}
		program.Close()
	}
	return all
}

// kernelProgram is the name of the program that answers hits (plugin/packetcache/internal/kernel).
const kernelProgram = "nodelocaldns"

// iperf runs iperf3 in the pod, and returns the bits that came in a second.
func (c *contestant) iperf(args []string) (float64, error) {
	out, err := c.pod.Output("", harness.Which(c.Host, "iperf3"), args...)
	if err != nil {
		return 0, fmt.Errorf("iperf3: %w: %s", err, out)
	}
	var page struct {
		Error string // its exit code is 0
		End   struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &page); err != nil {
		return 0, fmt.Errorf("reading what iperf3 printed: %w", err)
	}
	if page.Error != "" {
		return 0, fmt.Errorf("iperf3: %s", page.Error)
	}
	return page.End.Received.Bits, nil
}
