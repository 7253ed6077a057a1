module podwire.test/proxyfor

go 1.21
