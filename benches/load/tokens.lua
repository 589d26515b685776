-- For wrk: a GET with one token after the other, and one line of counts at the end.
local requests, turn = {}, 0

function init(arguments)
  for token in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("GET", "/api/resource/Item/ITEM-0001", {
      ["Host"] = "bench.local",
      ["Authorization"] = "Bearer " .. token,
      ["Accept"] = "application/json",
      ["User-Agent"] = "wrk",
    })
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("COUNTS %d %d %d %d\n", summary.requests, failed, latency:percentile(50), latency:percentile(99)))
end
