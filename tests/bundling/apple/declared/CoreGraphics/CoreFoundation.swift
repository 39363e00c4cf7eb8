// What CoreGraphics exports of Core Foundation. A cast of Swift's types to these is written as on a Mac, `url as CFURL`.

import Foundation

public typealias CFString = NSString
public typealias CFURL = NSURL
public typealias CFDictionary = NSDictionary

public final class CFAllocator {}

public let kCFAllocatorDefault: CFAllocator! = nil
