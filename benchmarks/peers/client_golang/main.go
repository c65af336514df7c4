// The samples of a file, exposed by Go's client_golang over HTTP on a free port until standard input ends.
//
// Built from Debian's packages alone:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o client_golang main.go
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

type family struct {
	Name    string
	Kind    string
	Help    string
	Labels  []string
	Buckets []float64
}

// add gives a child its numbers: observations, or one value.
type add func(labels []string, numbers []float64)

func register(registry *prometheus.Registry, f family) add {
	switch f.Kind {
	case "histogram":
		vec := prometheus.NewHistogramVec(
			prometheus.HistogramOpts{Name: f.Name, Help: f.Help, Buckets: f.Buckets}, f.Labels)
		registry.MustRegister(vec)
		return func(labels []string, numbers []float64) {
			child := vec.WithLabelValues(labels...)
			for _, number := range numbers {
				child.Observe(number)
			}
		}
	case "counter":
		vec := prometheus.NewCounterVec(
			prometheus.CounterOpts{Name: f.Name + "_total", Help: f.Help}, f.Labels)
		registry.MustRegister(vec)
		return func(labels []string, numbers []float64) { vec.WithLabelValues(labels...).Add(numbers[0]) }
	case "gauge":
		vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: f.Name, Help: f.Help}, f.Labels)
		registry.MustRegister(vec)
		return func(labels []string, numbers []float64) { vec.WithLabelValues(labels...).Set(numbers[0]) }
	}
	log.Fatalf("a family of no known kind: %s", f.Kind)
	return nil
}

func fill(registry *prometheus.Registry, path string) {
	file, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	var table []add
	for lines.Scan() && len(lines.Bytes()) > 0 {
		var f family
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			log.Fatal(err)
		}
		table = append(table, register(registry, f))
	}
	for lines.Scan() {
		var index int
		var labels []string
		var numbers []float64
		if err := json.Unmarshal(lines.Bytes(), &[]any{&index, &labels, &numbers}); err != nil {
			log.Fatal(err)
		}
		table[index](labels, numbers)
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

func main() {
	registry := prometheus.NewRegistry()
	fill(registry, os.Args[1])
	runtime.GC()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	go func() { log.Fatal(http.Serve(listener, nil)) }()
	fmt.Printf("{\"address\": %q}\n", listener.Addr())
	io.Copy(io.Discard, os.Stdin)
}
