-- What all the loads share: a key of its own for every request, and a customer drawn at random.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("thread", threads)
end

function common(args)
  token, run, accounts = args[1], args[2], tonumber(args[3])
  count = 0
  math.randomseed(thread * 7919 + os.time())
end

function next_key()
  count = count + 1
  return run .. "-" .. thread .. "-" .. count
end

function customer()
  return "bench-" .. math.random(0, accounts - 1)
end

function post(path, body)
  local headers = {
    ["Authorization"] = "Bearer " .. token,
    ["Idempotency-Key"] = next_key(),
    ["Content-Type"] = "application/json",
  }
  return wrk.format("POST", path, headers, body)
end
