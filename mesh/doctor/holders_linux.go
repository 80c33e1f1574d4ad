package doctor

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	maxHolders  = 8
	maxHandles  = 1 << 16 // open files of all processes that are looked at
	mdnsPortHex = ":14E9" // 5353 as /proc/net/udp writes it
)

// portHolders names the programs that have UDP port 5353 open. Of other users' programs only root learns the names.
func portHolders() []string {
	sockets := make(map[string]string) // socket:[inode] -> user
	for _, file := range []string{"/proc/net/udp", "/proc/net/udp6"} {
		readSockets(file, sockets)
	}
	if len(sockets) == 0 {
		return []string{}
	}
	holders := []string{}
	handles, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is good
	for _, h := range handles[:min(len(handles), maxHandles)] {
		target, err := os.Readlink(h)
		if _, ok := sockets[target]; err != nil || !ok {
			continue
		}
		delete(sockets, target)
		pid := strings.Split(h, "/")[2]
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			continue
		}
		holders = append(holders, fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(comm)), pid))
	}
	for _, uid := range sockets {
		holders = append(holders, "a program of user "+uid)
	}
	slices.Sort(holders)
	holders = slices.Compact(holders)
	return holders[:min(len(holders), maxHolders)]
}

// readSockets notes the sockets on port 5353 that a table of the kernel lists.
func readSockets(file string, sockets map[string]string) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		const local, uid, inode = 1, 7, 9
		fields := strings.Fields(lines.Text())
		if len(fields) <= inode || !strings.HasSuffix(fields[local], mdnsPortHex) {
			continue
		}
		if _, err := strconv.Atoi(fields[uid]); err == nil {
			sockets["socket:["+fields[inode]+"]"] = fields[uid]
		}
	}
}
