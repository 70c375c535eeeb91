-- wrk script: asks for the codes of a file, one after another.
-- Arguments: a file of codes on end; the length of a code; which of them is the first; a file of
-- what surrounds a code: its first line comes before it, the others follow it in turn. In these
-- "|" ends a header, and a format like "%016x" takes a number that no other request of the run has.
-- A fifth argument is how many milliseconds each connection waits between two requests.

local codes, width, count, position
local before, after, turn = "", {}, 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  codes = file:read("*a")
  file:close()
  width = tonumber(arguments[2])
  count = #codes / width
  position = tonumber(arguments[3]) % count
  local pause = tonumber(arguments[5] or 0)
  if pause > 0 then
    delay = function() return pause end
  end
  for line in io.lines(arguments[4]) do
    if before == "" then
      before = line
    else
      after[#after + 1] = (line:gsub("|", "\r\n"))
    end
  end
end

function request()
  local start = position * width + 1
  position = (position + 1) % count
  turn = turn + 1
  local rest = after[turn % #after + 1]
  return before .. codes:sub(start, start + width - 1) .. rest:format(turn)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "failed": %d, "not_found": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
