-- Deductions of one credit from the bare service. Arguments: number of accounts.
function init(args)
  accounts = tonumber(args[1])
  math.randomseed(os.time())
end

function request()
  local headers = { ["Content-Type"] = "application/json" }
  return wrk.format("POST", "/", headers,
    '{"account":' .. math.random(1, accounts) .. ',"amount":1}')
end
