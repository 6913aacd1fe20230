// LND's brontide.Machine in memory: what a packet costs at several sizes, and what a handshake costs, both ends.
//
// For triolight's benchmarks. Prints JSON lines: microseconds of CPU, the best of several rounds.
package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime"
	"syscall"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/lightningnetwork/lnd/brontide"
	"github.com/lightningnetwork/lnd/keychain"
)

const rounds = 5

type row struct {
	What         string  `json:"what"`
	Size         int     `json:"size"`
	Microseconds float64 `json:"microseconds"`
}

func cpu() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(used.Utime) + seconds(used.Stime)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func key() *btcec.PrivateKey {
	private, err := btcec.NewPrivateKey()
	must(err)
	return private
}

func shake() (*brontide.Machine, *brontide.Machine) {
	ours, theirs := key(), key()
	initiator := brontide.NewBrontideMachine(true, &keychain.PrivKeyECDH{PrivKey: ours}, theirs.PubKey())
	responder := brontide.NewBrontideMachine(false, &keychain.PrivKeyECDH{PrivKey: theirs}, nil)
	one, err := initiator.GenActOne()
	must(err)
	must(responder.RecvActOne(one))
	two, err := responder.GenActTwo()
	must(err)
	must(initiator.RecvActTwo(two))
	three, err := initiator.GenActThree()
	must(err)
	must(responder.RecvActThree(three))
	return initiator, responder
}

func main() {
	runtime.GOMAXPROCS(1)
	out := json.NewEncoder(os.Stdout)
	for _, size := range []int{140, 430, 1400, 65000} {
		count := 20000
		if size > 2000 {
			count = 500
		}
		encrypt, decrypt := 1e9, 1e9
		for round := 0; round < rounds; round++ {
			sender, receiver := shake()
			message := make([]byte, size)
			var wire bytes.Buffer
			wire.Grow(count * (size + 34))
			began := cpu()
			for i := 0; i < count; i++ {
				must(sender.WriteMessage(message))
				_, err := sender.Flush(&wire)
				must(err)
			}
			encrypt = min(encrypt, (cpu()-began)/float64(count)*1e6)
			began = cpu()
			for i := 0; i < count; i++ {
				_, err := receiver.ReadMessage(&wire)
				must(err)
			}
			decrypt = min(decrypt, (cpu()-began)/float64(count)*1e6)
		}
		must(out.Encode(row{"encrypt", size, encrypt}))
		must(out.Encode(row{"decrypt", size, decrypt}))
	}
	handshake := 1e9
	for round := 0; round < rounds; round++ {
		began := cpu()
		for i := 0; i < 100; i++ {
			shake()
		}
		handshake = min(handshake, (cpu()-began)/100*1e6)
	}
	must(out.Encode(row{"handshake", 0, handshake}))
}
