// SPDX-License-Identifier: Apache-2.0

package client

// Break closes the probe's connection.
func (l *Load) Break() {
	l.channel.mu.Lock()
	defer l.channel.mu.Unlock()
	l.channel.conn.Close()
}

// Made is how many connections the crowd has made so far.
func (g *Gathering) Made() int { return int(g.made.Load()) }
