// Runs the scenarios that are named on the command line, and says how each went.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
)

// skip is what a scenario panics with if the driver has no such thing.
type skip string

func equal(found, expected interface{}) {
	if !reflect.DeepEqual(found, expected) {
		panic(fmt.Errorf("%.100v instead of %.100v", found, expected))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// refused insists on an error with this SQLSTATE; any error will do if that is empty.
func refused(state string, err error) {
	if err == nil {
		panic(fmt.Errorf("no error, instead of %s", state))
	}
	var found interface{ SQLState() string }
	if state != "" && (!errors.As(err, &found) || found.SQLState() != state) {
		panic(err)
	}
}

func trusted(file string) *tls.Config {
	text, err := os.ReadFile(file)
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return &tls.Config{RootCAs: roots, ServerName: os.Getenv("PGHOST")}
}

// together runs the work of all at once, and fails as the last of those that failed.
func together(workers int, work func(worker int)) {
	outcomes := make(chan interface{})
	for worker := 0; worker < workers; worker++ {
		go func(worker int) {
			defer func() { outcomes <- recover() }()
			work(worker)
		}(worker)
	}
	var failure interface{}
	for worker := 0; worker < workers; worker++ {
		if outcome := <-outcomes; outcome != nil {
			failure = outcome
		}
	}
	if failure != nil {
		panic(failure)
	}
}

// packaged is the version of an installed Debian package.
func packaged(name string) string {
	version, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", name).Output()
	must(err)
	return string(version)
}

func run(version string, scenarios map[string]func()) {
	fmt.Println("#", version+",", runtime.Version())
	for _, name := range os.Args[1:] {
		fmt.Println(verdict(name, scenarios[name]))
	}
}

func verdict(name string, scenario func()) (line string) {
	defer func() {
		switch failure := recover().(type) {
		case nil:
		case skip:
			line = "skip " + name + " " + string(failure)
		default:
			line = "not ok " + name + " " + strings.Join(strings.Fields(fmt.Sprint(failure)), " ")
		}
	}()
	if scenario == nil {
		panic(skip("not in this driver"))
	}
	scenario()
	return "ok " + name
}
