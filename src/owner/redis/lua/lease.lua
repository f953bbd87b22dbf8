-- lease: mirrors domain/quota/cluster.rs
-- Draws credits of a quota and returns unspent ones. `user_json`: the user's name as JSON; `kind`: kind of the quota; `rate`:
-- credits per minute; `minute`: the minute of the returned credits; `unspent`: how many are returned, of `settled` that the
-- node had; `is_last`: 1 if the credits of other nodes count as spent.
-- key:l and the kind is a hash: e end of the minute, f free credits, h and a node: credits of that node, w and a node: 1 if
-- the node waits for credits that others return.
local user_json, kind, minute, rate = ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9])
local wanted, unspent, settled, is_last = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12]), ARGV[13]
local fund_key = key .. ':l' .. kind
local function say(to, fields)
  call('PUBLISH', prefix .. ':node:{' .. to .. '}', '{"u":' .. user_json .. ',"y":' .. kind .. fields .. '}')
end
local fund = {}
local v = call('HGETALL', fund_key)
for at = 1, #v, 2 do fund[v[at]] = tonumber(v[at + 1]) end
if not fund.e or now >= fund.e then
  if wanted == 0 then return '{}' end
  call('DEL', fund_key)
  fund = {e = now + MINUTE_MS, f = rate}
  call('HSET', fund_key, 'e', fund.e)
  call('PEXPIRE', fund_key, MINUTE_MS)
end
if minute == fund.e then
  local had = math.min(settled, fund['h' .. node] or 0)
  fund.f = fund.f + math.min(unspent, had)
  if had > 0 then call('HINCRBY', fund_key, 'h' .. node, -had) end
  for field in pairs(fund) do
    local waits = string.match(field, '^w(%d+)$')
    if waits then
      call('HDEL', fund_key, field)
      say(waits, ',"a":1')
    end
  end
end
local grant = math.min(wanted, fund.f)
call('HSET', fund_key, 'f', fund.f - grant)
local answer = string.format('{"n":%.0f,"l":%.0f', fund.e, fund.e - now)
if grant > 0 then
  call('HINCRBY', fund_key, 'h' .. node, grant)
  return answer .. ',"k":' .. grant .. '}'
end
local is_held = false
for field, held in pairs(fund) do
  local holder = string.match(field, '^h(%d+)$')
  if wanted > 0 and holder and holder ~= node and held > 0 then
    if is_last == '1' then
      call('HDEL', fund_key, field)
    else
      is_held = true
      say(holder, string.format(',"e":%.0f', fund.e))
    end
  end
end
if is_held then
  call('HSET', fund_key, 'w' .. node, 1)
  return answer .. ',"m":1}'
end
return answer .. ',"k":0}'
