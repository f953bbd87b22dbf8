-- Nearly every message is one to a room by one of its members, without a name of its sender's. It is sent before anything
-- else is looked at; every sixty-fourth, and whatever is not so simple, takes the long way.
if ARGV[6] == '' and ARGV[9] == '' then
  local v = call('HMGET', K, 'e', 's', 'n', 'z')
  local member = v[1] and call('HGET', K .. ':m', ARGV[5])
  local seq = v[1] and tonumber(v[2]) + 1
  local own = server()
  if member and seq % 64 ~= 0 and v[4] and string.sub(v[4], 1, #own + 1) == own .. ':' then
    local n, zi = tonumber(v[3]) + 1, ',"z":' .. string.sub(v[4], #own + 2)
    local entry = '{"n":' .. n .. ',"seq":' .. seq .. ',"by":' .. member .. ',' .. ARGV[8]
    call('HSET', K, 's', seq, 'n', n, 'a', now)
    call('XADD', K .. ':l', seq .. '-0', 'm', entry, 'i', ARGV[7])
    call('HSET', K .. ':i', ARGV[7], seq)
    call(publish, K, '{"n":' .. n .. zi .. ',"o":"' .. origin .. '","t":' .. now .. ',"f":[["*' .. ARGV[5] ..
      '",{"message":' .. entry .. '}]]}')
    return '{"n":' .. n .. zi .. ',"f":1,"d":0,"e":"' .. v[1] .. '","id":"' .. ARGV[7] .. '","seq":' .. seq .. ',"at":' .. now .. '}'
  end
end
